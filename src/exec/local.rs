//! Reading local Parquet files without a detour.
//!
//! DataFusion reads a local file by the pool of blocking threads, into new memory each time: a stage waits for another thread to be woken, and the system and the allocator
//! fill with zeros what is overwritten at once. Here the task that wants a range copies it itself, into a buffer that has been used before, where the system has the range in
//! memory and nobody has to wait for a disk. Everything else, metadata among it, stays with DataFusion's reader.

use std::fmt::{self, Write};
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetFileMetrics;
use datafusion::datasource::physical_plan::{FileScanConfig, ParquetFileReaderFactory, ParquetSource};
use datafusion::execution::TaskContext;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::object_store::path::Path;
use datafusion::object_store::{GetOptions, GetResultPayload, ObjectStore, PutPayloadIntoIter};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::Result as ParquetResult;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::future::{BoxFuture, FutureExt};

/// `bytes::Bytes`, by way of a crate that is there anyway.
type Bytes = <PutPayloadIntoIter as Iterator>::Item;

/// A source that reads local files without a detour. `None`: they are not local, or somebody has chosen a reader.
pub(super) fn source(config: &FileScanConfig, source: &ParquetSource, context: &TaskContext) -> Option<ParquetSource> {
    let inner = source.parquet_file_reader_factory()?;
    if config.object_store_url != ObjectStoreUrl::local_filesystem() || !is_datafusions(inner.as_ref()) {
        return None;
    }
    let store = context.runtime_env().object_store(&config.object_store_url).ok()?;
    let files = LocalFiles { inner: Arc::clone(inner), store, spare: Arc::default() };
    Some(source.clone().with_parquet_file_reader_factory(Arc::new(files)))
}

/// How DataFusion's reader of tables of files begins when it is shown. There is no other way to tell its type.
const DATAFUSIONS: &str = "CachedParquetFileReaderFactory {";

/// Whether readers are those that DataFusion gives tables of files.
fn is_datafusions(factory: &dyn ParquetFileReaderFactory) -> bool {
    /// Takes a text as long as it is the rest of [`DATAFUSIONS`].
    struct Rest(&'static str);
    impl Write for Rest {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let shared = text.bytes().zip(self.0.bytes()).take_while(|(a, b)| a == b).count();
            self.0 = &self.0[shared..];
            // What comes after it would be the whole cache.
            if shared < text.len() || self.0.is_empty() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut rest = Rest(DATAFUSIONS);
    let _ = write!(rest, "{factory:?}");
    rest.0.is_empty()
}

#[derive(Debug)]
struct LocalFiles {
    inner: Arc<dyn ParquetFileReaderFactory>,
    store: Arc<dyn ObjectStore>,
    spare: Arc<Spare>,
}

impl ParquetFileReaderFactory for LocalFiles {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let location = file.object_meta.location.clone();
        let own = ParquetFileMetrics::new(partition, location.as_ref(), metrics);
        let inner = self.inner.create_reader(partition, file, metadata_size_hint, metrics)?;
        let (store, spare) = (Arc::clone(&self.store), Arc::clone(&self.spare));
        Ok(Box::new(LocalReader { inner, store, location, opened: Opened::NotYet, spare, metrics: own }))
    }
}

enum Opened {
    NotYet,
    File(File),
    /// The store has no file of that name, or none that the system knows of.
    Elsewhere,
}

struct LocalReader {
    inner: Box<dyn AsyncFileReader + Send>,
    store: Arc<dyn ObjectStore>,
    location: Path,
    opened: Opened,
    spare: Arc<Spare>,
    metrics: ParquetFileMetrics,
}

impl LocalReader {
    /// What the ranges hold, where all of it is in memory.
    async fn at_once(&mut self, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
        if let Opened::NotYet = self.opened {
            let got = self.store.get_opts(&self.location, GetOptions::default()).await;
            self.opened = match got.map(|got| got.payload) {
                Ok(GetResultPayload::File(file, _)) => Opened::File(file),
                _ => Opened::Elsewhere,
            };
        }
        let Opened::File(file) = &self.opened else { return None };
        let read = |range: &Range<u64>| {
            let mut buffer = Spare::take(&self.spare, usize::try_from(range.end.checked_sub(range.start)?).ok()?);
            in_memory(file, buffer.as_mut(), range.start).then(|| Bytes::from_owner(buffer))
        };
        let bytes = ranges.iter().map(read).collect::<Option<Vec<_>>>()?;
        self.metrics.bytes_scanned.add(bytes.iter().map(|bytes| bytes.len()).sum());
        Some(bytes)
    }
}

impl Drop for LocalReader {
    fn drop(&mut self) {
        // DataFusion's reader tells the size of the file, and its own part.
        self.metrics.scan_efficiency_ratio.add_part(self.metrics.bytes_scanned.value());
    }
}

impl AsyncFileReader for LocalReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move {
            match self.at_once(&ranges).await {
                Some(bytes) => Ok(bytes),
                None => self.inner.get_byte_ranges(ranges).await,
            }
        }
        .boxed()
    }

    fn get_metadata<'a>(&'a mut self, options: Option<&'a ArrowReaderOptions>) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        self.inner.get_metadata(options)
    }
}

/// Fills a buffer from a place of a file on, where the system has all of that in memory; else leaves anything in it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn in_memory(file: &File, mut buffer: &mut [u8], mut at: u64) -> bool {
    use std::os::fd::AsRawFd;
    while !buffer.is_empty() {
        let Ok(offset) = libc::off_t::try_from(at) else { return false };
        let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: the system writes to no more than the buffer, which is borrowed for as long.
        let read = unsafe { libc::preadv2(file.as_raw_fd(), &raw const part, 1, offset, libc::RWF_NOWAIT) };
        match usize::try_from(read) {
            Ok(read) if read > 0 => {
                buffer = &mut buffer[read..];
                at += read as u64;
            }
            // Not there, the end of the file, or a system that cannot tell.
            _ => return false,
        }
    }
    true
}

/// Elsewhere nobody can tell.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn in_memory(_file: &File, _buffer: &mut [u8], _at: u64) -> bool {
    false
}

/// Buffers of a scan that nobody uses any more.
#[derive(Debug, Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

/// A buffer is not used for a range of a smaller part of it, lest small columns of a file hold the memory of large ones.
const LEAST_SHARE: usize = 4;

/// Sizes of buffers are multiples of this, so that they serve columns of about the same size.
const STEP: usize = 1 << 16;

impl Spare {
    fn take(this: &Arc<Spare>, len: usize) -> Lease {
        if len == 0 {
            return Lease { buffer: vec![], len, spare: Arc::clone(this) };
        }
        let mut spare = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |buffer: &&(usize, usize)| (len..=len.max(STEP) * LEAST_SHARE).contains(&buffer.1);
        let sizes: Vec<(usize, usize)> = spare.iter().map(Vec::len).enumerate().collect();
        let best = sizes.iter().filter(fits).min_by_key(|(_, size)| *size);
        let buffer = best.map(|(place, _)| spare.swap_remove(*place));
        drop(spare);
        Lease { buffer: buffer.unwrap_or_else(|| vec![0; len.next_multiple_of(STEP)]), len, spare: Arc::clone(this) }
    }
}

/// A buffer that is spare again when nobody holds it any more. Its bytes are the first `len`.
struct Lease {
    buffer: Vec<u8>,
    len: usize,
    spare: Arc<Spare>,
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl AsMut<[u8]> for Lease {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.buffer.is_empty() {
            self.spare.0.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::datasource::physical_plan::parquet::{CachedParquetFileReaderFactory, DefaultParquetFileReaderFactory};
    use datafusion::object_store::local::LocalFileSystem;
    use datafusion::object_store::{ObjectStoreExt, memory::InMemory};
    use datafusion::physical_plan::ExecutionPlan;

    use super::*;
    use crate::Session;

    /// A reader of somebody else's that is called nearly the same.
    #[derive(Debug)]
    #[expect(dead_code, reason = "shown, not read")]
    struct CachedParquetFileReaderFactoryToo {
        inner: u8,
    }

    impl ParquetFileReaderFactory for CachedParquetFileReaderFactoryToo {
        fn create_reader(
            &self,
            _partition: usize,
            _file: PartitionedFile,
            _hint: Option<usize>,
            _metrics: &ExecutionPlanMetricsSet,
        ) -> Result<Box<dyn AsyncFileReader + Send>> {
            unreachable!("nobody reads")
        }
    }

    #[tokio::test]
    async fn readers_of_others_stay() {
        let cache = Session::new().context().runtime_env().cache_manager.get_file_metadata_cache();
        let store = Arc::new(LocalFileSystem::new());
        assert!(is_datafusions(&CachedParquetFileReaderFactory::new(Arc::clone(&store) as _, cache)));
        assert!(!is_datafusions(&DefaultParquetFileReaderFactory::new(store)));
        assert!(!is_datafusions(&CachedParquetFileReaderFactoryToo { inner: 1 }));
    }

    /// A reader that tells whether it was asked.
    struct Asked(Arc<Mutex<usize>>);

    impl AsyncFileReader for Asked {
        fn get_bytes(&mut self, _range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
            unreachable!("ranges are asked for together")
        }

        fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
            *self.0.lock().unwrap() += 1;
            async move { Ok(ranges.iter().map(|_| Bytes::from("asked")).collect()) }.boxed()
        }

        fn get_metadata<'a>(&'a mut self, _options: Option<&'a ArrowReaderOptions>) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
            unreachable!("nobody asks for metadata")
        }
    }

    fn reader(store: Arc<dyn ObjectStore>, location: Path) -> (LocalReader, Arc<Mutex<usize>>) {
        let asked = Arc::<Mutex<usize>>::default();
        let metrics = ParquetFileMetrics::new(0, "f", &ExecutionPlanMetricsSet::new());
        let inner = Box::new(Asked(Arc::clone(&asked)));
        (LocalReader { inner, store, location, opened: Opened::NotYet, spare: Arc::default(), metrics }, asked)
    }

    #[tokio::test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    async fn what_is_in_memory_is_read_at_once_and_the_rest_by_datafusion() {
        let path = std::env::temp_dir().join(format!("stagefuse-local-{}", std::process::id()));
        let content: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let location = Path::from_absolute_path(&path).unwrap();
        let (mut reader, asked) = reader(Arc::new(LocalFileSystem::new()), location);
        for _ in 0..3 {
            let ranges = vec![5..70_005, 299_000..300_000, 17..17];
            let bytes = reader.get_byte_ranges(ranges.clone()).await.unwrap();
            for (range, bytes) in ranges.iter().zip(&bytes) {
                assert_eq!(bytes[..], content[range.start as usize..range.end as usize]);
            }
        }
        assert_eq!((*asked.lock().unwrap(), reader.metrics.bytes_scanned.value()), (0, 3 * 71_000));
        // Buffers that nobody holds serve again, others do not.
        assert_eq!(reader.spare.0.lock().unwrap().len(), 2);
        let held = reader.get_byte_ranges(vec![0..70_000, 0..0]).await.unwrap();
        let other = reader.get_byte_ranges(vec![1..70_001, 0..0]).await.unwrap();
        assert_eq!((&held[0][..], &other[0][..]), (&content[..70_000], &content[1..70_001]));
        // Beyond the end it is DataFusion's to complain.
        assert_eq!(reader.get_byte_ranges(vec![0..10, 299_990..300_010]).await.unwrap()[0], "asked");
        assert_eq!(*asked.lock().unwrap(), 1);
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn what_is_elsewhere_is_read_by_datafusion() {
        let store = InMemory::new();
        store.put(&Path::from("f"), "content".into()).await.unwrap();
        let (mut reader, asked) = reader(Arc::new(store), Path::from("f"));
        assert_eq!(reader.get_byte_ranges(vec![0..3, 3..4]).await.unwrap()[0], "asked");
        assert_eq!(*asked.lock().unwrap(), 1);
    }

    /// Tables of files are read so, and answer as before; what was read is counted.
    #[tokio::test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    async fn stages_read_tables_of_files_so() {
        let path = std::env::temp_dir().join(format!("stagefuse-local-table-{}.parquet", std::process::id()));
        let session = Session::builder().mode(crate::Mode::Compiled).target_partitions(2).build();
        let copy = format!("COPY (SELECT value AS v FROM generate_series(1, 50000)) TO '{}'", path.display());
        session.sql(&copy).await.unwrap().collect().await.unwrap();
        session.register_parquet("t", &path.display().to_string()).await.unwrap();
        let query = session.sql("SELECT count(*) AS n, sum(v) AS s FROM t WHERE v > 9").await.unwrap();
        let plan = query.physical().await.unwrap();
        let node = plan.downcast_ref::<crate::CompiledExec>().expect("all of the plan is lowered");
        let (config, parquet) = crate::lower::parquet_scan(node.children()[0].as_ref()).unwrap();
        let context = session.context().task_ctx();
        let local = source(config, parquet, &context).expect("the file is local");
        assert!(format!("{:?}", local.parquet_file_reader_factory()).contains("LocalFiles"));
        let batches = datafusion::physical_plan::collect(Arc::clone(&plan), context).await.unwrap();
        assert_eq!(batches[0].num_rows(), 1);
        let metrics = node.children()[0].metrics().unwrap();
        let bytes = metrics.sum_by_name("bytes_scanned").unwrap().as_usize() as u64;
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(bytes > size / 2 && bytes <= size, "{bytes} of {size}");
        std::fs::remove_file(path).unwrap();
    }
}
