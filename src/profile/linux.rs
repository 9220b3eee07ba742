//! Samples by signals: Linux on x86-64 and aarch64.
//!
//! The handler may interrupt anything, an allocation included. So it allocates nothing, locks nothing and panics nowhere: it writes into memory that was made before the
//! first timer, through atomics, and calls only what POSIX or the kernel lets handlers call (`clock_gettime`, `gettid`, `process_vm_readv`). The stack is read through
//! the kernel, so that an address that is none yields an error and not a fault.

use std::cell::Cell;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::{INTERVAL, Sample};
use crate::error::Error;

/// Threads that are sampled at most.
const THREADS: usize = 512;

/// Samples of one run that are kept: half a minute of two busy threads.
const SAMPLES: usize = 1 << 16;

/// Functions of generated code that are told apart.
const RANGES: usize = 1 << 14;

/// A thread that had less time since its last sample waited: nothing is noted, and the time counts to the next sample.
const LEAST_NANOS: u64 = 100_000;

/// Words of the stack that are read at a time, and how often.
const WORDS: usize = 512;
const CHUNKS: usize = 8;

static STATE: OnceLock<State> = OnceLock::new();
static ACTIVE: AtomicBool = AtomicBool::new(false);
/// Handlers that run now.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// Held by the one who profiles.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Grows with each profile, so that threads know when their number is an old one.
static SESSION: AtomicUsize = AtomicUsize::new(0);
/// Timers of the profile under way, as integers: they are handles of the C library.
static TIMERS: Mutex<Vec<usize>> = Mutex::new(vec![]);

thread_local! {
    /// The session in which this thread was numbered, and its number.
    static NUMBER: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// What the handler reads and writes. Made once, and never freed: a late signal may still look at it.
struct State {
    threads: Box<[Thread]>,
    numbered: AtomicUsize,
    /// First and last address (exclusive) of the code's functions, in order.
    code: Box<[(AtomicUsize, AtomicUsize)]>,
    functions: AtomicUsize,
    samples: Box<[Slot]>,
    taken: AtomicUsize,
}

#[derive(Default)]
struct Thread {
    tid: AtomicI32,
    program: AtomicUsize,
    work: AtomicUsize,
    /// The address up to which the stack belongs to the work.
    top: AtomicUsize,
    /// Its processor time at its last sample.
    cpu: AtomicU64,
}

#[derive(Default)]
struct Slot {
    ip: AtomicUsize,
    call: AtomicUsize,
    program: AtomicUsize,
    work: AtomicUsize,
    nanos: AtomicU64,
}

fn many<T: Default>(count: usize) -> Box<[T]> {
    (0..count).map(|_| T::default()).collect()
}

fn state() -> &'static State {
    STATE.get_or_init(|| State {
        threads: many(THREADS),
        numbered: AtomicUsize::new(0),
        code: many(RANGES),
        functions: AtomicUsize::new(0),
        samples: many(SAMPLES),
        taken: AtomicUsize::new(0),
    })
}

pub(super) fn is_active() -> bool {
    ACTIVE.load(Ordering::Relaxed)
}

/// Until it is dropped, the thread does what it was told.
pub(crate) struct Doing(&'static Thread);

impl Drop for Doing {
    fn drop(&mut self) {
        self.0.work.store(0, Ordering::Release);
        self.0.top.store(0, Ordering::Release);
    }
}

/// Says what this thread does; it gets a timer where it has none.
pub(super) fn enter(program: usize, work: usize) -> Option<Doing> {
    // SAFETY: it has no preconditions.
    let tid = unsafe { libc::gettid() };
    let session = SESSION.load(Ordering::Acquire);
    let number = match NUMBER.get() {
        (known, number) if known == session => number,
        _ => {
            let number = watch(tid)?;
            NUMBER.set((session, number));
            number
        }
    };
    let thread = state().threads.get(number)?;
    let here = 0u8;
    // The handler runs on this thread, between two of these stores: what belongs together is complete when `work` is there.
    thread.program.store(program, Ordering::Release);
    // Callers are above this frame, whatever they call is below them.
    thread.top.store((&raw const here) as usize + 256, Ordering::Release);
    thread.work.store(work, Ordering::Release);
    Some(Doing(thread))
}

/// Gives a thread a number and a timer, unless it has them. None where it has gone, or there are too many.
fn watch(tid: i32) -> Option<usize> {
    let mut timers = TIMERS.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_active() {
        return None;
    }
    let state = state();
    let numbered = state.numbered.load(Ordering::Acquire);
    if let Some(known) = state.threads[..numbered].iter().position(|thread| thread.tid.load(Ordering::Relaxed) == tid) {
        return Some(known);
    }
    let thread = state.threads.get(numbered)?;
    thread.work.store(0, Ordering::Relaxed);
    thread.top.store(0, Ordering::Relaxed);
    thread.cpu.store(cpu_time(cpu_clock(tid))?, Ordering::Relaxed);
    thread.tid.store(tid, Ordering::Release);
    timers.push(timer(tid, numbered)?);
    state.numbered.store(numbered + 1, Ordering::Release);
    Some(numbered)
}

/// The clock of a thread's processor time (`MAKE_THREAD_CPUCLOCK` of the kernel).
fn cpu_clock(tid: i32) -> libc::clockid_t {
    (!tid << 3) | 6
}

fn cpu_time(clock: libc::clockid_t) -> Option<u64> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the address is that of a `timespec`. The call is one that signal handlers may make.
    if unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call has succeeded, so that it has written the time.
    let time = unsafe { time.assume_init() };
    Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// A timer that interrupts a thread of this process.
fn timer(tid: i32, number: usize) -> Option<usize> {
    // SAFETY: all zeros are a `sigevent`.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = libc::SIGPROF;
    event.sigev_value = libc::sigval { sival_ptr: std::ptr::without_provenance_mut(number) };
    event.sigev_notify_thread_id = tid;
    let mut timer: libc::timer_t = std::ptr::null_mut();
    // SAFETY: both addresses are those of values of the right types, which the call does not keep.
    if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) } != 0 {
        return None;
    }
    let every = libc::timespec { tv_sec: 0, tv_nsec: i64::from(INTERVAL.subsec_nanos()) };
    let setting = libc::itimerspec { it_interval: every, it_value: every };
    // SAFETY: the timer was made above; nothing is asked for about the setting before.
    unsafe { libc::timer_settime(timer, 0, &raw const setting, std::ptr::null_mut()) };
    Some(timer as usize)
}

/// Samples are taken until it is stopped or dropped.
pub(super) struct Sampler;

impl Sampler {
    /// Samples all threads of the process; `code` are the functions of generated code.
    pub(super) fn start(code: impl Iterator<Item = Range<usize>>) -> Result<Sampler, Error> {
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Err(Error::usage("another query of this process is being profiled: try again when it is done"));
        }
        // From here on dropping it cleans up.
        let sampler = Sampler;
        handle_signals()?;
        let state = state();
        let mut code: Vec<Range<usize>> = code.collect();
        code.sort_by_key(|range| range.start);
        code.dedup();
        code.truncate(RANGES);
        for (place, range) in state.code.iter().zip(&code) {
            place.0.store(range.start, Ordering::Relaxed);
            place.1.store(range.end, Ordering::Relaxed);
        }
        state.functions.store(code.len(), Ordering::Release);
        state.numbered.store(0, Ordering::Release);
        state.taken.store(0, Ordering::Release);
        SESSION.fetch_add(1, Ordering::AcqRel);
        ACTIVE.store(true, Ordering::SeqCst);
        // Threads that come later are watched when they first run a stage.
        for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            if let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) {
                watch(tid);
            }
        }
        if TIMERS.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Err(Error::usage("the system gave no timer for a profile"));
        }
        Ok(sampler)
    }

    /// The samples, and how many there was no room for; and the time after the last sample of each thread.
    pub(super) fn stop(self) -> (Vec<Sample>, usize, u64) {
        end();
        let state = state();
        let threads = state.threads.iter().take(state.numbered.load(Ordering::Acquire));
        let rest = threads.filter_map(|thread| {
            let now = cpu_time(cpu_clock(thread.tid.load(Ordering::Relaxed)))?;
            Some(now.saturating_sub(thread.cpu.load(Ordering::Relaxed)))
        });
        let rest = rest.sum();
        let taken = state.taken.load(Ordering::Acquire);
        let load = |value: &AtomicUsize| value.load(Ordering::Relaxed);
        let samples = state.samples.iter().take(taken).map(|slot| Sample {
            ip: load(&slot.ip),
            call: load(&slot.call),
            program: load(&slot.program),
            work: load(&slot.work),
            nanos: slot.nanos.load(Ordering::Relaxed),
        });
        (samples.collect(), taken.saturating_sub(SAMPLES), rest)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        end();
        TAKEN.store(false, Ordering::Release);
    }
}

/// Ends the timers, and waits for handlers that run.
fn end() {
    ACTIVE.store(false, Ordering::SeqCst);
    for timer in TIMERS.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        // SAFETY: the timer was made by `timer`, and this is the only place that deletes one, once.
        unsafe { libc::timer_delete(timer as libc::timer_t) };
    }
    while INSIDE.load(Ordering::SeqCst) != 0 {
        std::thread::yield_now();
    }
}

/// Makes our function the handler of SIGPROF, for good: a signal that is still on its way when the timers are gone must not end the process.
fn handle_signals() -> Result<(), Error> {
    static READY: Mutex<bool> = Mutex::new(false);
    let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
    if *ready {
        return Ok(());
    }
    // SAFETY: all zeros are a `sigaction`, with the default handler and an empty mask.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    // SAFETY: the old action is asked for, and nothing is changed.
    unsafe { libc::sigaction(libc::SIGPROF, std::ptr::null(), &raw mut before) };
    if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN {
        return Err(Error::usage("SIGPROF has a handler already: another profiler of this process uses it"));
    }
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_signal;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: the handler does what handlers may do only: see the module's documentation.
    if unsafe { libc::sigaction(libc::SIGPROF, &raw const action, std::ptr::null_mut()) } != 0 {
        return Err(Error::usage("the system takes no handler for SIGPROF"));
    }
    *ready = true;
    Ok(())
}

extern "C" fn on_signal(_signal: c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    INSIDE.fetch_add(1, Ordering::SeqCst);
    if ACTIVE.load(Ordering::SeqCst) {
        // SAFETY: the kernel hands over a valid `siginfo_t` and, for SA_SIGINFO, a `ucontext_t`; both live until the handler returns.
        unsafe {
            if (*info).si_code == libc::SI_TIMER {
                let errno = libc::__errno_location();
                let before = *errno;
                sample((*info).si_value().sival_ptr as usize, &*context.cast::<libc::ucontext_t>());
                *errno = before;
            }
        }
    }
    INSIDE.fetch_sub(1, Ordering::SeqCst);
}

/// Notes where the thread is. Runs in the handler.
fn sample(number: usize, context: &libc::ucontext_t) {
    let Some(state) = STATE.get() else { return };
    let Some(thread) = state.threads.get(number) else { return };
    // SAFETY: it has no preconditions.
    if thread.tid.load(Ordering::Relaxed) != unsafe { libc::gettid() } {
        // Sent by a timer of an earlier profile.
        return;
    }
    let Some(cpu) = cpu_time(libc::CLOCK_THREAD_CPUTIME_ID) else { return };
    let nanos = cpu.saturating_sub(thread.cpu.load(Ordering::Relaxed));
    if nanos < LEAST_NANOS {
        return;
    }
    thread.cpu.store(cpu, Ordering::Relaxed);
    let Some(slot) = state.samples.get(state.taken.fetch_add(1, Ordering::Relaxed)) else { return };
    let (ip, sp, link) = registers(context);
    let work = thread.work.load(Ordering::Acquire);
    let call = match work {
        0 => 0,
        _ if state.is_code(ip) => 0,
        _ if state.is_code(link.wrapping_sub(1)) => link,
        _ => caller(state, sp, thread.top.load(Ordering::Relaxed)),
    };
    slot.ip.store(ip, Ordering::Relaxed);
    slot.call.store(call, Ordering::Relaxed);
    slot.program.store(thread.program.load(Ordering::Relaxed), Ordering::Relaxed);
    slot.work.store(work, Ordering::Relaxed);
    slot.nanos.store(nanos, Ordering::Relaxed);
}

/// Instruction pointer, stack pointer, and the register that holds a return address, where there is one.
#[cfg(target_arch = "x86_64")]
fn registers(context: &libc::ucontext_t) -> (usize, usize, usize) {
    let registers = &context.uc_mcontext.gregs;
    (registers[libc::REG_RIP as usize] as usize, registers[libc::REG_RSP as usize] as usize, 0)
}

/// Instruction pointer, stack pointer, and the register that holds a return address, where there is one.
#[cfg(target_arch = "aarch64")]
fn registers(context: &libc::ucontext_t) -> (usize, usize, usize) {
    let registers = &context.uc_mcontext;
    (registers.pc as usize, registers.sp as usize, registers.regs[30] as usize)
}

impl State {
    /// Whether an address lies in generated code.
    fn is_code(&self, address: usize) -> bool {
        let code = self.code.get(..self.functions.load(Ordering::Acquire)).unwrap_or_default();
        let behind = code.partition_point(|(start, _)| start.load(Ordering::Relaxed) <= address);
        behind.checked_sub(1).and_then(|at| code.get(at)).is_some_and(|(_, end)| address < end.load(Ordering::Relaxed))
    }
}

/// The nearest return address into generated code on the stack from `sp` up to `top`; 0: none.
fn caller(state: &State, sp: usize, top: usize) -> usize {
    let mut words = [0usize; WORDS];
    for chunk in 0..CHUNKS {
        let from = sp + chunk * size_of_val(&words);
        let wanted = top.saturating_sub(from).min(size_of_val(&words)) / size_of::<usize>();
        if wanted == 0 {
            return 0;
        }
        let bytes = wanted * size_of::<usize>();
        let into = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: bytes };
        let stack = libc::iovec { iov_base: std::ptr::without_provenance_mut(from), iov_len: bytes };
        // SAFETY: `into` is memory of this frame. The kernel checks that the other address can be read, and copies as far as that is so.
        let read = unsafe { libc::process_vm_readv(libc::getpid(), &raw const into, 1, &raw const stack, 1, 0) };
        let read = usize::try_from(read).unwrap_or(0) / size_of::<usize>();
        if let Some(found) = words.iter().take(read).find(|word| state.is_code(word.wrapping_sub(1))) {
            return *found;
        }
        if read < wanted {
            return 0;
        }
    }
    0
}
