//! The workers of one execution: they stay between stages, for a moment, so that the next stage need not wake them.
//!
//! A thread that has to be woken comes late where stages are short: TPC-H's queries at scale 1 took a sixth less time once they no longer waited for that
//! (`docs/results/2026-11-30-tpch.md`). So whoever runs the stages does what nobody has begun when its own part is done, and a worker that has nothing to do looks out for the next part for [`LOOK_OUT`] before it goes.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use datafusion::common::runtime::JoinSet;
use datafusion::common::{DataFusionError, Result};
use futures::future::{BoxFuture, Either, FutureExt, select, try_join_all};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;

use super::wake::release_last;

/// How long a worker without work looks out for some, and how long whoever waits for the workers does so before it sleeps.
const LOOK_OUT: Duration = Duration::from_micros(100);

/// A part of a stage.
pub(super) type Part = BoxFuture<'static, Result<()>>;

/// Workers of the runtime, as many as there are parts to do at the same time. Dropping it ends what they do.
pub(super) struct Crew {
    /// Whether the caller does everything, a little of each part in turn.
    is_alone: bool,
    board: Arc<Board>,
    workers: JoinSet<()>,
}

/// Where parts are posted.
#[derive(Default)]
struct Board {
    work: Mutex<Work>,
    /// Told when the last part is done, or one has failed.
    done: Notify,
    /// Told when one has failed.
    failed: Notify,
}

#[derive(Default)]
struct Work {
    /// Parts that nobody has begun.
    posted: VecDeque<Part>,
    /// Workers that look out for one, each with the thread where it did so last.
    idle: Vec<(usize, ThreadId)>,
    /// Workers so far that have looked out.
    numbered: usize,
    /// Parts that are begun and not done.
    begun: usize,
    /// What the first part came to that did not succeed.
    failed: Option<Failed>,
}

impl Work {
    /// Workers that will begin what is posted now. One that looked out on the caller's own thread is not among them: it comes to look again only when
    /// that thread has nothing to do, which is when the caller's part is done.
    fn ready(&self) -> usize {
        let here = std::thread::current().id();
        self.idle.iter().filter(|(_, thread)| *thread != here).count()
    }
}

enum Failed {
    Error(DataFusionError),
    Panic(Box<dyn Any + Send>),
}

impl Crew {
    /// For so many parts at the same time; on a runtime of one thread, whoever calls does them.
    pub(super) fn new(workers: usize) -> Self {
        let is_alone = workers <= 1 || Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::CurrentThread);
        Crew { is_alone, board: Arc::default(), workers: JoinSet::new() }
    }

    /// Does all parts, the caller one of them, until all are done or one fails.
    ///
    /// # Errors
    /// The first of the parts. Others may be left undone then.
    pub(super) async fn run(&mut self, mut parts: Vec<Part>) -> Result<()> {
        if self.is_alone {
            return try_join_all(parts).await.map(|_| ());
        }
        let Some(own) = parts.pop() else { return Ok(()) };
        let missing = {
            let mut work = self.board.work();
            work.posted.extend(parts);
            work.posted.len().saturating_sub(work.ready())
        };
        for _ in 0..missing {
            self.workers.spawn(Arc::clone(&self.board).look_for_work());
        }
        if missing > 0 {
            release_last(&Handle::current());
        }
        let work = async {
            own.await?;
            self.board.work_off().await;
            Ok::<_, DataFusionError>(())
        };
        if let Either::Left((done, _)) = select(pin!(work), pin!(self.board.failed.notified())).await {
            done?;
        }
        self.board.wait().await
    }
}

impl Board {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Option<Part> {
        let mut work = self.work();
        let part = work.posted.pop_front()?;
        work.begun += 1;
        Some(part)
    }

    fn finish(&self, outcome: Result<Result<()>, Box<dyn Any + Send>>) {
        let mut work = self.work();
        work.begun -= 1;
        let failed = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Failed::Error(error)),
            Err(panic) => Some(Failed::Panic(panic)),
        };
        let has_failed = failed.is_some();
        if work.failed.is_none() {
            work.failed = failed;
        }
        if has_failed {
            self.failed.notify_one();
        }
        if has_failed || work.begun == 0 {
            self.done.notify_one();
        }
    }

    /// Does what nobody has begun.
    async fn work_off(&self) {
        while let Some(part) = self.begin() {
            self.finish(AssertUnwindSafe(part).catch_unwind().await);
        }
    }

    /// What a worker does: parts, until none has been posted for a while.
    async fn look_for_work(self: Arc<Self>) {
        loop {
            self.work_off().await;
            if !self.look_out().await {
                return;
            }
        }
    }

    /// Whether something has been posted.
    async fn look_out(&self) -> bool {
        let number = {
            let mut work = self.work();
            work.numbered += 1;
            work.numbered
        };
        let start = Instant::now();
        loop {
            {
                let mut work = self.work();
                let is_over = start.elapsed() >= LOOK_OUT;
                work.idle.retain(|(other, _)| *other != number);
                if is_over || !work.posted.is_empty() {
                    // Whoever posts counts on those that look out: under the same lock, none of them has gone yet.
                    return !work.posted.is_empty();
                }
                work.idle.push((number, std::thread::current().id()));
            }
            // Other tasks of the runtime go first.
            tokio::task::yield_now().await;
        }
    }

    /// Until all that was begun is done, or something has failed.
    async fn wait(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            {
                let mut work = self.work();
                match work.failed.take() {
                    Some(Failed::Error(error)) => return Err(error),
                    Some(Failed::Panic(panic)) => std::panic::resume_unwind(panic),
                    None if work.begun == 0 => return Ok(()),
                    None => {}
                }
            }
            if start.elapsed() < LOOK_OUT {
                tokio::task::yield_now().await;
            } else {
                // A word that came ahead of this is kept.
                self.done.notified().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn counting(count: &Arc<AtomicUsize>, pause: Duration) -> Part {
        let count = Arc::clone(count);
        async move {
            tokio::time::sleep(pause).await;
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        .boxed()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn every_part_is_done_once_round_by_round() {
        let mut crew = Crew::new(3);
        let count = Arc::new(AtomicUsize::new(0));
        let mut expected = 0;
        for round in 0..2_000 {
            let parts = round % 5;
            // Some rounds are longer than anybody looks out.
            let pause = if round % 100 == 3 { 3 * LOOK_OUT } else { Duration::ZERO };
            crew.run((0..parts).map(|_| counting(&count, pause)).collect()).await.unwrap();
            expected += parts;
            assert_eq!(count.load(Ordering::Relaxed), expected);
        }
    }

    /// A caller that does not give its thread up has help at once, not only when its own part is done.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn others_begin_while_the_caller_is_busy() {
        let (tell, hear) = std::sync::mpsc::channel();
        let other = async move { tell.send(()).map_err(|_| DataFusionError::Execution("nobody hears".to_string())) }.boxed();
        let own = async move {
            let heard = hear.recv_timeout(Duration::from_secs(20));
            heard.map_err(|_| DataFusionError::Execution("nobody has begun the other part".to_string()))
        }
        .boxed();
        // From a thread of the runtime's, as queries are run.
        tokio::spawn(async { Crew::new(2).run(vec![other, own]).await }).await.unwrap().unwrap();
    }

    /// Also where the caller has come to wait on the thread of the worker that it counts on: the one that was waited for last wakes it there.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn others_begin_after_the_caller_has_slept() {
        fn parts(pause: Duration) -> Vec<Part> {
            let (tell, hear) = std::sync::mpsc::channel();
            let other = async move {
                std::thread::sleep(pause);
                // Where there was a pause, nobody hears any more.
                let _ = tell.send(());
                Ok(())
            };
            let own = async move {
                // With a pause the caller goes to sleep: the other part takes longer than it looks out for its end.
                match hear.recv_timeout(Duration::from_secs(if pause.is_zero() { 20 } else { 0 })) {
                    Err(_) if pause.is_zero() => Err(DataFusionError::Execution("nobody has begun the other part".to_string())),
                    _ => Ok(()),
                }
            };
            vec![other.boxed(), own.boxed()]
        }
        tokio::spawn(async {
            let mut crew = Crew::new(2);
            for _ in 0..20 {
                crew.run(parts(20 * LOOK_OUT)).await.unwrap();
                crew.run(parts(Duration::ZERO)).await.unwrap();
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn one_thread_is_enough() {
        let mut crew = Crew::new(3);
        let count = Arc::new(AtomicUsize::new(0));
        let (first, second) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        // Each waits for the other.
        let pair = |tell: &Arc<Notify>, hear: &Arc<Notify>| {
            let (tell, hear) = (Arc::clone(tell), Arc::clone(hear));
            async move {
                tell.notify_one();
                hear.notified().await;
                Ok(())
            }
            .boxed()
        };
        crew.run(vec![pair(&first, &second), counting(&count, Duration::ZERO), pair(&second, &first)]).await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_first_error_ends_a_round() {
        for failing in 0..3 {
            let mut crew = Crew::new(3);
            let fails = || async { Err(DataFusionError::Execution("as told".to_string())) }.boxed();
            let never = || futures::future::pending().boxed();
            let parts = (0..3).map(|part| if part == failing { fails() } else { never() }).collect();
            assert!(crew.run(parts).await.unwrap_err().to_string().contains("as told"));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_panic_is_the_callers() {
        let panics = || async { panic!("as told") }.boxed();
        for parts in [vec![panics(), async { Ok(()) }.boxed()], vec![async { Ok(()) }.boxed(), panics()]] {
            let outcome = AssertUnwindSafe(async { Crew::new(3).run(parts).await }).catch_unwind().await;
            assert_eq!(outcome.unwrap_err().downcast_ref::<&str>(), Some(&"as told"));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_dropped_ends() {
        struct Ends(Arc<AtomicUsize>);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let ended = Arc::new(AtomicUsize::new(0));
        let endless = || {
            let ends = Ends(Arc::clone(&ended));
            async move {
                let _ends = ends;
                futures::future::pending::<()>().await;
                Ok(())
            }
            .boxed()
        };
        let mut crew = Crew::new(3);
        let parts = vec![endless(), endless()];
        assert!(tokio::time::timeout(Duration::from_millis(20), crew.run(parts)).await.is_err());
        drop(crew);
        while ended.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
