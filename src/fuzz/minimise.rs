//! Makes a case smaller as long as it shows the same kind of difference.

use std::time::{Duration, Instant};

use super::case::Case;
use super::engines::{Engine, Engines};
use super::outcome::{Difference, difference};
use super::reduce;
use super::table::Layout;

/// Tries cases that are smaller.
pub struct Minimiser<'a> {
    engines: &'a Engines,
    until: Instant,
    case: Case,
    found: Difference,
}

impl<'a> Minimiser<'a> {
    /// Makes a case smaller for at most this long.
    pub async fn run(engines: &'a Engines, case: Case, found: Difference, time: Duration) -> (Case, Difference) {
        let mut minimiser = Minimiser { engines, until: Instant::now() + time, case, found };
        loop {
            let mut smaller = minimiser.fewer_rows().await;
            smaller |= minimiser.simpler_query().await;
            smaller |= minimiser.simpler_surroundings().await;
            if !smaller || minimiser.is_late() {
                return (minimiser.case, minimiser.found);
            }
        }
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Takes a case if it shows the same kind of difference.
    async fn takes(&mut self, case: Case) -> bool {
        if self.is_late() {
            return false;
        }
        let (wanted, _) = self.engines.run(&case, Engine::Plain).await;
        let (got, _) = self.engines.run(&case, self.found.engine).await;
        let Some(why) = difference(&case, &wanted, &got) else { return false };
        let found = Difference { engine: self.found.engine, why, wanted, got };
        if found.class() != self.found.class() || self.engines.doubt(&case, [&found.wanted, &found.got]).await.is_some() {
            return false;
        }
        (self.case, self.found) = (case, found);
        true
    }

    async fn fewer_rows(&mut self) -> bool {
        let mut any = false;
        for table in 0..self.case.tables.len() {
            let mut size = self.case.tables[table].rows.len().div_ceil(2);
            while size > 0 {
                let mut at = 0;
                while at < self.case.tables[table].rows.len() {
                    let mut case = self.case.clone();
                    let rows = &mut case.tables[table].rows;
                    rows.drain(at..(at + size).min(rows.len()));
                    if self.takes(case).await {
                        any = true;
                    } else {
                        at += size;
                    }
                }
                size = if size == 1 { 0 } else { size.div_ceil(2).min(size - 1) };
            }
        }
        any
    }

    async fn simpler_query(&mut self) -> bool {
        let (mut any, mut at) = (false, 0);
        loop {
            let Some(query) = reduce::queries(&self.case.query).into_iter().nth(at) else { return any };
            let case = Case { query, ..self.case.clone() };
            if self.takes(case).await {
                any = true;
            } else if self.is_late() {
                return any;
            } else {
                at += 1;
            }
        }
    }

    async fn simpler_surroundings(&mut self) -> bool {
        let mut any = false;
        for setting in (0..self.case.settings.len()).rev() {
            let mut case = self.case.clone();
            case.settings.remove(setting);
            any |= self.takes(case).await;
        }
        for table in (0..self.case.tables.len()).rev() {
            let mut case = self.case.clone();
            case.tables.remove(table);
            any |= !case.tables.is_empty() && self.takes(case).await;
        }
        for table in 0..self.case.tables.len() {
            any |= self.simpler_table(table).await;
        }
        any
    }

    async fn simpler_table(&mut self, table: usize) -> bool {
        let mut any = false;
        for column in (0..self.case.tables[table].columns.len()).rev() {
            let mut case = self.case.clone();
            case.tables[table].columns.remove(column);
            case.tables[table].rows.iter_mut().for_each(|row| drop(row.remove(column)));
            any |= !case.tables[table].columns.is_empty() && self.takes(case).await;
        }
        let plain = Layout::plain();
        type Change = fn(&mut Layout, Layout);
        let changes: [Change; 7] = [
            |layout, plain| *layout = plain,
            |layout, plain| layout.cached = plain.cached,
            |layout, plain| layout.garbage = plain.garbage,
            |layout, plain| layout.padding = plain.padding,
            |layout, plain| layout.spare_entries = plain.spare_entries,
            |layout, plain| layout.partitions = plain.partitions,
            |layout, plain| layout.batches = plain.batches,
        ];
        for change in changes {
            let mut case = self.case.clone();
            change(&mut case.tables[table].layout, plain.clone());
            if case.tables[table].layout != self.case.tables[table].layout {
                any |= self.takes(case).await;
            }
        }
        any
    }
}
