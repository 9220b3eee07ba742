//! Reading ahead: whoever is done with a stage before the others reads what later stages will want.
//!
//! Files are cut into as many parts as there are workers, and never end at the same time; small ones have one part for all. A worker that would wait decodes batches of
//! the scans that come next in the meantime, a few of each, until the last of its stage is done.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::future::{Either, select};
use futures::stream::{self, StreamExt};
use tokio::sync::Notify;

/// Most batches that are read ahead of a partition.
const MOST: usize = 16;

/// A stream, and what has been read of it.
pub(super) struct Ahead {
    stream: SendableRecordBatchStream,
    ready: VecDeque<Result<RecordBatch>>,
    ended: bool,
}

impl Ahead {
    pub(super) fn new(stream: SendableRecordBatchStream) -> Self {
        Ahead { stream, ready: VecDeque::new(), ended: false }
    }

    /// Reads until there is enough, or a stage's workers are done.
    pub(super) async fn read(&mut self, workers: &Workers) {
        while !self.ended && self.ready.len() < MOST && workers.are_busy() {
            let done = pin!(workers.done.notified());
            // Whoever is done tells those that wait, and nobody later.
            if !workers.are_busy() {
                return;
            }
            match select(self.stream.next(), done).await {
                Either::Left((Some(batch), _)) => {
                    // An error is the stage's to find, if it comes so far.
                    self.ended = batch.is_err();
                    self.ready.push_back(batch);
                }
                Either::Left((None, _)) => self.ended = true,
                Either::Right(_) => return,
            }
            tokio::task::yield_now().await;
        }
    }

    /// All of the rows.
    pub(super) fn into_stream(self) -> SendableRecordBatchStream {
        if self.ready.is_empty() && !self.ended {
            return self.stream;
        }
        let schema = self.stream.schema();
        let ready = stream::iter(self.ready);
        // A stream that has ended, or failed, is not asked again.
        let rest = stream::iter((!self.ended).then_some(self.stream)).flatten();
        Box::pin(RecordBatchStreamAdapter::new(schema, ready.chain(rest)))
    }
}

/// Streams of inputs that have been begun ahead of their stages, by input and partition.
#[derive(Default)]
pub(super) struct Begun(Mutex<Vec<Vec<Place>>>);

#[derive(Default)]
enum Place {
    #[default]
    Untouched,
    Begun(Box<Ahead>),
    /// Somebody reads it.
    Taken,
}

impl Begun {
    /// A stream that nobody else reads; begun by `begin` where it has not been. None: somebody else does, or has.
    pub(super) fn take(
        &self,
        input: usize,
        partition: usize,
        begin: impl FnOnce() -> Result<SendableRecordBatchStream>,
    ) -> Result<Option<Ahead>> {
        let place = self.with(input, partition, |place| std::mem::replace(place, Place::Taken));
        match place {
            Place::Untouched => match begin() {
                Ok(stream) => Ok(Some(Ahead::new(stream))),
                Err(error) => {
                    self.with(input, partition, |place| *place = Place::Untouched);
                    Err(error)
                }
            },
            Place::Begun(ahead) => Ok(Some(*ahead)),
            Place::Taken => Ok(None),
        }
    }

    /// Puts a stream back that has been read ahead.
    pub(super) fn put(&self, input: usize, partition: usize, ahead: Ahead) {
        self.with(input, partition, |place| *place = Place::Begun(Box::new(ahead)));
    }

    fn with<T>(&self, input: usize, partition: usize, act: impl FnOnce(&mut Place) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= input {
            all.resize_with(input + 1, Vec::new);
        }
        let places = &mut all[input];
        if places.len() <= partition {
            places.resize_with(partition + 1, Place::default);
        }
        act(&mut places[partition])
    }
}

/// The workers of a stage.
pub(super) struct Workers {
    busy: AtomicUsize,
    done: Notify,
}

impl Workers {
    pub(super) fn new(workers: usize) -> Self {
        Workers { busy: AtomicUsize::new(workers), done: Notify::new() }
    }

    /// A worker has nothing more to do.
    pub(super) fn leave(&self) {
        if self.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_waiters();
        }
    }

    pub(super) fn are_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire) > 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::common::DataFusionError;
    use futures::TryStreamExt;

    use super::*;

    /// Batches of one row each; where `fails`, an error in place of that one.
    fn numbers(count: i64, fails: Option<i64>) -> SendableRecordBatchStream {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]));
        let of = Arc::clone(&schema);
        let batch = move |value: i64| match fails {
            Some(at) if at == value => Err(DataFusionError::Execution("as told".to_string())),
            _ => Ok(RecordBatch::try_new(Arc::clone(&of), vec![Arc::new(Int64Array::from(vec![value]))])?),
        };
        Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(0..count).map(batch)))
    }

    async fn values(stream: SendableRecordBatchStream) -> Result<Vec<i64>> {
        let batches: Vec<RecordBatch> = stream.try_collect().await?;
        Ok(batches.iter().map(|batch| batch.column(0).as_primitive::<Int64Type>().value(0)).collect())
    }

    #[tokio::test]
    async fn nothing_is_lost_however_far_it_was_read() {
        for count in [0, 1, MOST as i64, MOST as i64 + 1, 100] {
            let workers = Workers::new(1);
            let mut ahead = Ahead::new(numbers(count, None));
            ahead.read(&workers).await;
            assert_eq!(ahead.ready.len(), MOST.min(count as usize));
            assert_eq!(values(ahead.into_stream()).await.unwrap(), (0..count).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn an_error_comes_where_it_was() {
        let mut ahead = Ahead::new(numbers(9, Some(3)));
        ahead.read(&Workers::new(1)).await;
        assert_eq!(ahead.ready.len(), 4);
        let mut stream = ahead.into_stream();
        for _ in 0..3 {
            assert!(stream.next().await.unwrap().is_ok());
        }
        assert!(stream.next().await.unwrap().is_err());
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn reading_ends_with_the_stage() {
        let workers = Workers::new(1);
        let schema = numbers(0, None).schema();
        // Nothing ever comes.
        let mut ahead = Ahead::new(Box::pin(RecordBatchStreamAdapter::new(schema, stream::pending())));
        tokio::join!(ahead.read(&workers), async { workers.leave() });
        assert!(!workers.are_busy() && ahead.ready.is_empty());
        let mut other = Ahead::new(numbers(5, None));
        other.read(&workers).await;
        assert!(other.ready.is_empty());
    }

    #[tokio::test]
    async fn a_stream_is_begun_and_read_once() {
        let begun = Begun::default();
        let ahead = begun.take(2, 1, || Ok(numbers(3, None))).unwrap().unwrap();
        assert!(begun.take(2, 1, || Ok(numbers(3, None))).unwrap().is_none());
        begun.put(2, 1, ahead);
        let ahead = begun.take(2, 1, || unreachable!("it has been begun")).unwrap().unwrap();
        assert_eq!(values(ahead.into_stream()).await.unwrap(), [0, 1, 2]);
        assert!(begun.take(2, 1, || unreachable!("it has been read")).unwrap().is_none());
        // What cannot be begun is not lost.
        assert!(begun.take(0, 0, || Err(DataFusionError::Execution("not yet".to_string()))).is_err());
        assert!(begun.take(0, 0, || Ok(numbers(1, None))).unwrap().is_some());
    }
}
