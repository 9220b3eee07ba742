//! Text that stages carry as numbers of dictionary entries, and where the host has those.

use std::sync::Arc;

use datafusion::common::{DataFusionError, Result};
use stagefuse_ir::{EntityRef, Program, passes};
use stagefuse_runtime::Dictionary;

use super::{Lowered, Memory};

/// Has the program carry numbers ([`passes::carry_codes`]), and the host hand them over.
pub(super) fn carry(program: &mut Program, memory: &mut [Option<Memory>]) {
    for (input, column) in passes::carry_codes(program) {
        // Nothing but a compact table has columns of such numbers.
        if let Some(Some(Memory::Compact(_, columns))) = memory.get_mut(input.index()) {
            columns.push(columns[column as usize]);
        }
    }
}

/// The dictionaries of a program's inputs, in its order.
///
/// # Errors
/// Where a column that the program calls one of numbers is none: a bug.
pub(crate) fn dictionaries(lowered: &Lowered) -> Result<Vec<Arc<Dictionary>>> {
    let dictionary = |(input, column): (stagefuse_ir::Input, usize)| match lowered.memory.get(input.index()) {
        Some(Some(Memory::Compact(table, columns))) => table.dictionary(*columns.get(column)?).cloned(),
        _ => None,
    };
    let missing = || DataFusionError::Internal("a column of numbers has no dictionary".to_string());
    lowered.program.dictionaries().map(|column| dictionary(column).ok_or_else(missing)).collect()
}
