//! What is measured side by side: modes, each with one number of threads or several.

use stagefuse::Session;
use tokio::runtime::{Handle, Runtime};

use super::load;
use crate::cli::arguments::{BenchArguments, Mode, Storage, Tables};
use crate::cli::failure::Failure;
use crate::cli::{engine, output, runtime};

/// A mode with a number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    pub mode: Mode,
    pub threads: u16,
}

/// Workers for each number of threads that is measured. A query runs on its own ones; the others sleep.
pub struct Runtimes(Vec<(u16, Runtime)>);

impl Runtimes {
    /// Starts the workers. At least one number is named.
    pub fn start(threads: &[u16]) -> Result<Runtimes, Failure> {
        let mut runtimes: Vec<(u16, Runtime)> = vec![];
        for &threads in threads {
            if runtimes.iter().any(|(known, _)| *known == threads) {
                return Err(Failure::new(format!("--threads names {threads} twice")));
            }
            runtimes.push((threads, runtime(Some(usize::from(threads)))?));
        }
        if runtimes.is_empty() { Err(Failure::new("--threads names no number")) } else { Ok(Runtimes(runtimes)) }
    }

    /// The one with most workers: tables are brought on it.
    pub fn widest(&self) -> &Runtime {
        let widest = self.0.iter().max_by_key(|(threads, _)| *threads);
        &widest.expect("there is one, or they would not have started").1
    }

    /// The largest number of threads.
    pub fn threads(&self) -> u16 {
        self.0.iter().map(|(threads, _)| *threads).max().unwrap_or(1)
    }
}

/// The sides that are measured, each with a session of its own; each engine has the tables in its own format.
pub struct Sides(Vec<(Side, Session, Handle)>);

impl Sides {
    /// Sessions over the tables of `plain`: `off` reads them as they are, and so does every mode where tables are not held compact.
    pub async fn over(plain: &Session, runtimes: &Runtimes, arguments: &BenchArguments) -> Result<Sides, Failure> {
        let compact = arguments.tables == Tables::Compact && arguments.storage == Storage::Memory;
        let mut sides: Vec<(Side, Session, Handle)> = vec![];
        for &mode in &arguments.modes {
            for (threads, runtime) in &runtimes.0 {
                let session = engine::open(Some(usize::from(*threads)));
                engine::set_mode(&session, mode).await?;
                for setting in &arguments.settings {
                    let (name, value) =
                        setting.split_once('=').ok_or_else(|| Failure::new(format!("--set takes NAME=VALUE, not {setting}")))?;
                    engine::run(&session, &format!("SET {name} = '{}'", value.replace('\'', "''"))).await?;
                }
                sides.push((Side { mode, threads: *threads }, session, runtime.handle().clone()));
            }
        }
        for table in load::tables(plain.context()).await? {
            let mut cached = None;
            for (side, session, _) in &sides {
                match &cached {
                    _ if !compact || side.mode == Mode::Off => load::copy(plain.context(), session.context(), &table).await?,
                    Some(cached) => load::register_cached(session.context(), &table, cached)?,
                    None => {
                        load::copy(plain.context(), session.context(), &table).await?;
                        let start = std::time::Instant::now();
                        let made = session.cache_table(&table).await?;
                        output::complain(&format!("cached {table}: {} MB, {:.1} s", made.bytes() >> 20, start.elapsed().as_secs_f64()));
                        cached = Some(made);
                    }
                }
            }
            if compact && !arguments.modes.contains(&Mode::Off) {
                // Nobody reads the Arrow arrays any more.
                plain.context().deregister_table(table.as_str())?;
            }
        }
        Ok(Sides(sides))
    }

    /// All of them, in the order in which they are measured.
    pub fn all(&self) -> impl Iterator<Item = Side> {
        self.0.iter().map(|(side, ..)| *side)
    }

    /// A session whose settings are those of all.
    pub fn any(&self) -> Option<&Session> {
        self.0.first().map(|(_, session, _)| session)
    }

    /// The session of a side, and the workers that it runs on.
    pub fn of(&self, side: Side) -> Result<(&Session, &Handle), Failure> {
        let found = self.0.iter().find(|(other, ..)| *other == side);
        found.map(|(_, session, handle)| (session, handle)).ok_or_else(|| Failure::new(format!("mode {} is not measured", side.mode)))
    }

    /// What a side is called: its mode, and its threads where there is a choice, as in `compiled/2`.
    pub fn name(&self, side: Side) -> String {
        let several = self.all().any(|other| other.threads != side.threads);
        if several { format!("{}/{}", side.mode, side.threads) } else { side.mode.to_string() }
    }

    /// What the others are compared with: the compiled mode, with most threads.
    pub fn subject(&self) -> Option<Side> {
        self.all().filter(|side| side.mode == Mode::Compiled).max_by_key(|side| side.threads)
    }
}
