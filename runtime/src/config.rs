//! What a host brings to a run.

use std::any::Any;
use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, SchemaRef};
use stagefuse_ir::abi::{HASH_ALL, MAX_MORSEL_ROWS, StageFn};
use stagefuse_ir::{Datum, Program};

use crate::compact::Dictionary;
use crate::error::HostError;

/// How a stage runs.
#[derive(Clone)]
pub enum Engine {
    /// By its compiled function.
    Native {
        /// The function.
        function: StageFn,
        /// Keeps the function's code alive.
        owner: Arc<dyn Any + Send + Sync>,
    },
    /// By the vectorised interpreter.
    Interpreted,
    /// By the interpreter, until whoever compiles the stage puts another engine here: the next morsels run on that.
    Awaited(Arc<OnceLock<Engine>>),
}

impl Engine {
    /// What the next morsel runs on, and whether the stage is still being compiled.
    pub(crate) fn now(&self) -> (&Engine, bool) {
        match self {
            Engine::Awaited(engine) => engine.get().map_or((&Engine::Interpreted, true), |engine| (engine.now().0, false)),
            known => (known, false),
        }
    }
}

/// An expression that the IR has no operation for: the host evaluates it, on whole columns.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
/// use arrow::datatypes::Int64Type;
/// use stagefuse_runtime::{HostError, OpaqueExpr};
///
/// #[derive(Debug)]
/// struct CountOnes;
///
/// impl OpaqueExpr for CountOnes {
///     fn evaluate(&self, args: &[ArrayRef], _: usize) -> Result<ArrayRef, HostError> {
///         Ok(Arc::new(args[0].as_primitive::<Int64Type>().unary::<_, Int64Type>(|n| i64::from(n.count_ones()))))
///     }
/// }
///
/// let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7, 8]));
/// let ones = CountOnes.evaluate(&[numbers], 2).expect("it cannot fail");
/// assert_eq!(ones.as_primitive::<Int64Type>().values(), &[3, 1]);
/// ```
pub trait OpaqueExpr: Send + Sync + Debug {
    /// Evaluates it over `rows` rows; `args` are its operands in order, each that long.
    ///
    /// # Errors
    /// Whatever the host's evaluation raises.
    fn evaluate(&self, args: &[ArrayRef], rows: usize) -> Result<ArrayRef, HostError>;
}

/// An aggregate function that the IR has no accumulator for.
pub trait HostAggregate: Send + Sync + Debug {
    /// A fresh state, without groups; of a table without keys, with its only group.
    ///
    /// # Errors
    /// Whatever the host raises.
    fn start(&self) -> Result<Box<dyn HostAccumulator>, HostError>;
}

/// The state of a [`HostAggregate`] for all groups of one table, by their numbers.
pub trait HostAccumulator: Send {
    /// Adds rows: `args` are the arguments, `groups` says which group each row belongs to, of `total` groups so far; groups that
    /// are new to the state have a row in this call. If there is a filter, only
    /// rows count for which it is true.
    ///
    /// # Errors
    /// Whatever the host raises.
    fn update(&mut self, args: &[ArrayRef], filter: Option<&BooleanArray>, groups: &[usize], total: usize) -> Result<(), HostError>;

    /// Yields the state of all groups and forgets it: arrays with a row for each group.
    ///
    /// # Errors
    /// Whatever the host raises.
    fn state(&mut self) -> Result<Vec<ArrayRef>, HostError>;

    /// Adds states that [`HostAccumulator::state`] yielded, to groups as in [`HostAccumulator::update`].
    ///
    /// # Errors
    /// Whatever the host raises.
    fn merge(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<(), HostError>;

    /// Yields the value of all groups and forgets the state.
    ///
    /// # Errors
    /// Whatever the host raises.
    fn evaluate(&mut self) -> Result<ArrayRef, HostError>;

    /// Bytes that the state takes.
    fn size(&self) -> usize;
}

/// Where memory comes from.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use stagefuse_runtime::{HostError, MemoryBudget};
///
/// /// At most a mebibyte, and what it came to.
/// #[derive(Debug, Default)]
/// struct Mebibyte(AtomicUsize);
///
/// impl MemoryBudget for Mebibyte {
///     fn resize(&self, bytes: usize) -> Result<(), HostError> {
///         self.0.fetch_max(bytes, Ordering::Relaxed);
///         if bytes <= 1 << 20 { Ok(()) } else { Err("no more than a mebibyte".into()) }
///     }
/// }
///
/// let budget = Mebibyte::default();
/// assert!(budget.resize(1000).is_ok() && budget.resize(2 << 20).is_err());
/// ```
pub trait MemoryBudget: Send + Sync + Debug {
    /// Tells how many bytes the run holds from now on, in all.
    ///
    /// # Errors
    /// Where that is more than the host can give; the run then stops with [`crate::Error::Memory`].
    fn resize(&self, bytes: usize) -> Result<(), HostError>;
}

/// A budget without end.
#[derive(Debug)]
pub struct Unlimited;

impl MemoryBudget for Unlimited {
    fn resize(&self, _bytes: usize) -> Result<(), HostError> {
        Ok(())
    }
}

/// What decides how often rare paths are taken: how many rows there are at a time, when tables grow, and which keys collide. For tests: results do not depend on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Most rows of a morsel: 1 to [`MAX_MORSEL_ROWS`].
    pub morsel_rows: usize,
    /// Slots of a group table when its first group comes: a power of two, 2 or more.
    pub first_slots: usize,
    /// Rows that a table's first block has room for, 1 or more.
    pub first_rows: usize,
    /// Groups of a table from which on its entries may be spread.
    pub spread_rows: usize,
    /// Groups of a table from which on rows may be added without being looked up.
    pub loose_rows: usize,
    /// Rows of a join table from which on its directory may be in the order of keys.
    pub ordered_rows: usize,
    /// Rows of a part of a join table: 1 to 65,536.
    pub part_rows: usize,
    /// Bytes of a join table's directory that a worker clears at a time, 1 or more.
    pub clear_bytes: usize,
    /// Whether native stages and the interpreter take turns, morsel by morsel.
    pub alternate: bool,
    /// Whether stages count their rows and their time; not, to measure what that costs.
    pub counted: bool,
    /// The bits of hashes that count; as in the native code that the run is given.
    pub hash_mask: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes {
            morsel_rows: MAX_MORSEL_ROWS,
            first_slots: 128,
            first_rows: 64,
            spread_rows: 2048,
            loose_rows: 4096,
            ordered_rows: 1024,
            part_rows: 1 << 14,
            clear_bytes: 1 << 18,
            alternate: false,
            counted: true,
            hash_mask: HASH_ALL,
        }
    }
}

impl Sizes {
    /// All as small as can be, and engines that take turns.
    pub fn least(morsel_rows: usize) -> Self {
        Sizes {
            morsel_rows,
            first_slots: 2,
            first_rows: 1,
            spread_rows: 2,
            loose_rows: 3,
            ordered_rows: 1,
            part_rows: 3,
            clear_bytes: 16,
            alternate: true,
            counted: true,
            hash_mask: HASH_ALL,
        }
    }
}

/// What a run is made of.
pub struct RunConfig {
    /// A verified program.
    pub program: Arc<Program>,
    /// The engine of each stage.
    pub engines: Vec<Engine>,
    /// What the program's host types are.
    pub host_types: Vec<DataType>,
    /// The program's opaque expressions.
    pub opaques: Vec<Arc<dyn OpaqueExpr>>,
    /// The program's aggregate functions.
    pub aggregates: Vec<Arc<dyn HostAggregate>>,
    /// Values of the program's parameters; integers, decimals and dates as [`Datum::Int`].
    pub params: Vec<Datum>,
    /// The dictionaries of columns that lie as numbers of entries, in the order of [`Program::dictionaries`]: see [`crate::CompactTable::dictionary`].
    pub dictionaries: Vec<Arc<Dictionary>>,
    /// Schema of emitted batches; text may be `Utf8View`, `Utf8` or `LargeUtf8`.
    pub schema: SchemaRef,
    /// Partitions that group tables are merged into, and that table sources are read in.
    pub partitions: usize,
    /// Where memory comes from.
    pub memory: Arc<dyn MemoryBudget>,
}
