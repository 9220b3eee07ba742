//! Names of generated functions for Linux's `perf`: the setting `stagefuse.perf`.
//!
//! `map` appends to `/tmp/perf-PID.map`, which `perf report` reads by itself. `jitdump` writes `jit-PID.dump`, with the code itself, for `perf inject --jit`, after which
//! `perf annotate` shows the instructions. docs/profiling.md goes through it step by step.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use stagefuse_ir::Program;

use super::stage::Prepared;
use crate::config::Perf;

/// Programs that were named so far.
static PROGRAMS: AtomicUsize = AtomicUsize::new(0);

/// Functions that have a name: code that is found again keeps it.
static NAMED: Mutex<Option<HashSet<Function>>> = Mutex::new(None);

/// Where a function lies, and what it is called.
type Function = (Range<usize>, String);

static DUMP: Mutex<Option<Dump>> = Mutex::new(None);

/// What the names of a program's functions begin with, if it is compiled now.
pub(super) fn label(perf: Perf) -> String {
    match perf {
        Perf::Off => "stagefuse".to_string(),
        Perf::Map | Perf::Jitdump => format!("stagefuse::q{}", PROGRAMS.load(Ordering::Relaxed) + 1),
    }
}

/// Names the functions of a program's stages. That a file cannot be written is logged: it is no reason for a query to fail.
pub(super) fn name(program: &Program, prepared: &[Prepared], perf: Perf) {
    if perf == Perf::Off {
        return;
    }
    let label = label(perf);
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    let named = named.get_or_insert_default();
    let mut functions = vec![];
    for ((stage, decl), prepared) in program.stages.iter().zip(prepared) {
        let ranges = prepared.compiled().map(|stage| stage.ranges()).unwrap_or_default();
        for (part, range) in ranges.iter().enumerate() {
            let part = if part == 0 { String::new() } else { format!(" part {part}") };
            // A line of the map is a name: no line breaks.
            let own = format!("{stage} {}{part}", decl.name.replace(char::is_control, " "));
            if named.insert((range.clone(), own.clone())) {
                functions.push((format!("{label}::{own}"), range.clone()));
            }
        }
    }
    if functions.is_empty() {
        return;
    }
    PROGRAMS.fetch_add(1, Ordering::Relaxed);
    let written = match perf {
        Perf::Off => Ok(()),
        Perf::Map => map(&functions),
        Perf::Jitdump => dump(&functions),
    };
    if let Err(error) = written {
        tracing::warn!(%error, "no names for perf");
    }
}

/// Where `perf` looks for the names of a process.
fn map_file() -> PathBuf {
    Path::new("/tmp").join(format!("perf-{}.map", std::process::id()))
}

fn map(functions: &[(String, Range<usize>)]) -> io::Result<()> {
    let mut text = String::new();
    for (name, range) in functions {
        text.push_str(&format!("{:x} {:x} {name}\n", range.start, range.len()));
    }
    OpenOptions::new().append(true).create(true).open(map_file())?.write_all(text.as_bytes())
}

/// A file in the format of `tools/perf/Documentation/jitdump-specification.txt` of the kernel.
struct Dump {
    file: File,
    functions: u64,
}

/// Records that code was loaded.
const JIT_CODE_LOAD: u32 = 0;

impl Dump {
    fn open() -> io::Result<Dump> {
        let path = std::env::current_dir()?.join(format!("jit-{}.dump", std::process::id()));
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        // ELF's numbers of the machines.
        let machine: u32 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
        let mut header = vec![];
        for word in [0x4A69_5444, 1, 40, machine, 0, std::process::id()] {
            header.extend(u32::to_ne_bytes(word));
        }
        header.extend(u64::to_ne_bytes(now()));
        header.extend(u64::to_ne_bytes(0));
        file.write_all(&header)?;
        announce(&file)?;
        Ok(Dump { file, functions: 0 })
    }

    fn add(&mut self, name: &str, range: &Range<usize>) -> io::Result<()> {
        // SAFETY: the code lies there, and the caller holds a handle of it.
        let code = unsafe { std::slice::from_raw_parts(range.start as *const u8, range.len()) };
        let mut record = vec![];
        record.extend(u32::to_ne_bytes(JIT_CODE_LOAD));
        record.extend(u32::to_ne_bytes((16 + 40 + name.len() + 1 + code.len()) as u32));
        record.extend(u64::to_ne_bytes(now()));
        record.extend(u32::to_ne_bytes(std::process::id()));
        record.extend(u32::to_ne_bytes(std::process::id()));
        for value in [range.start as u64, range.start as u64, code.len() as u64, self.functions] {
            record.extend(u64::to_ne_bytes(value));
        }
        record.extend(name.as_bytes());
        record.push(0);
        record.extend(code);
        self.functions += 1;
        self.file.write_all(&record)
    }
}

fn dump(functions: &[(String, Range<usize>)]) -> io::Result<()> {
    let mut dump = DUMP.lock().unwrap_or_else(PoisonError::into_inner);
    if dump.is_none() {
        *dump = Some(Dump::open()?);
    }
    match &mut *dump {
        Some(dump) => functions.iter().try_for_each(|(name, range)| dump.add(name, range)),
        None => Ok(()),
    }
}

/// `perf record` learns of the file because the process maps it as if it were code.
#[cfg(target_os = "linux")]
fn announce(file: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the file is open, and the kernel chooses the address. The page is never read nor unmapped: it has to stay as long as the process.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
    if page == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(not(target_os = "linux"))]
fn announce(_file: &File) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "perf is a tool of Linux"))
}

/// The clock of `perf record -k mono`.
#[cfg(target_os = "linux")]
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the address is that of a `timespec`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(not(target_os = "linux"))]
fn now() -> u64 {
    0
}
