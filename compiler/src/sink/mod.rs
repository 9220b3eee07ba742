//! Where rows go to.

mod build;
mod emit;
mod group;
mod sort;

pub(crate) use group::Held;
use stagefuse_ir::Sink;

use crate::error::Result;
use crate::stage::Gen;

impl Gen<'_> {
    /// Takes the current row, then goes on with the next.
    pub(crate) fn sink(&mut self) -> Result<()> {
        let decl = self.decl;
        match &decl.sink {
            Sink::Build { join, keys, payload } => self.build(*join, keys, payload)?,
            // Branches on by itself.
            Sink::Mark { probe } => return self.mark(probe),
            Sink::Group { groups, keys, args, operands } => self.group(*groups, keys, args, operands)?,
            Sink::Sort { sort, keys, payload } => self.sort(*sort, keys, payload)?,
            Sink::Hand { columns, .. } | Sink::Emit { columns } => self.emit(columns)?,
        }
        let next = self.next;
        self.jump(next, &[]);
        Ok(())
    }
}
