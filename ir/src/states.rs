//! What stages leave behind for later ones: join tables, group tables, sorts, row counters.

use crate::entities::{Aggregate, Lit};
use crate::types::Type;

/// A join table's rows: keys, then payload. See [`crate::layout::RowLayout::join`].
#[derive(Clone, Debug, PartialEq)]
pub struct JoinDecl {
    /// Types of the keys, as build and probe hold them. At least one, but for cross joins: none, where every row matches.
    pub keys: Vec<Type>,
    /// Types of the other columns that are read after the join.
    pub payload: Vec<Type>,
    /// Whether a null key matches a null key.
    pub null_equal: bool,
    /// Whether rows remember that they were matched (for joins that keep or test the build side).
    pub tracked: bool,
}

/// A group table: one row per distinct combination of keys. See [`crate::layout::RowLayout::groups`].
///
/// Every worker fills a table of its own; when the stage is complete they are merged into partitions by hash, which the stages after it
/// read. Without keys there is exactly one group, even of an empty input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupsDecl {
    /// Types of the keys. Null keys form a group.
    pub keys: Vec<Type>,
    /// Accumulators.
    pub accs: Vec<AccDecl>,
    /// Types of the values that rows hand to the host's aggregate functions, in their default representations.
    pub operands: Vec<Type>,
    /// The host's aggregate functions. Each keeps its state by number of the group; its results are put into the merged table's rows.
    pub calls: Vec<CallDecl>,
    /// Keys of groups that are there where no row comes at all (the empty grouping sets): integers, or null.
    pub always: Vec<Vec<Lit>>,
    /// So many groups are enough, whichever they are: a stage need not look for more.
    pub enough: Option<u64>,
}

impl GroupsDecl {
    /// A table that the host does not compute anything for.
    pub fn new(keys: Vec<Type>, accs: Vec<AccDecl>) -> Self {
        GroupsDecl { keys, accs, ..GroupsDecl::default() }
    }

    /// Types of the columns that a stage reads: keys, accumulators, results of calls.
    pub fn columns(&self) -> impl Iterator<Item = Type> + '_ {
        let accs = self.accs.iter().map(|acc| acc.ty);
        self.keys.iter().copied().chain(accs).chain(self.calls.iter().map(|call| call.result))
    }
}

/// What a group table has the host compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallDecl {
    /// The function.
    pub aggregate: Aggregate,
    /// Its arguments: numbers of the table's operands. At least one.
    pub args: Vec<usize>,
    /// The operand that says which rows count, if not all do: those where it is true.
    pub filter: Option<usize>,
    /// Type of its value for each group, in its default representation.
    pub result: Type,
}

/// One accumulator of a group table.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct AccDecl {
    /// What it computes.
    pub op: AccOp,
    /// Type of the value that is held and read. `nullable`: null until a value that is not null has come.
    pub ty: Type,
}

/// What an accumulator computes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum AccOp {
    /// Rows; takes no argument. int64.
    CountRows,
    /// Arguments that are not null. int64.
    Count,
    /// Sum of the arguments that are not null; integers and decimals wrap, as DataFusion's do. int64, uint64, float64 or decimal in i128
    /// (whose argument may be held in i64).
    Sum,
    /// Bits that some argument has that is not null. An integer.
    BitOr,
    /// Bits that an odd number of arguments has that are not null. An integer.
    BitXor,
    /// Smallest argument, in the order of [`crate::op::BinaryOp::Lt`].
    Min,
    /// Greatest argument.
    Max,
}

impl AccOp {
    /// Every accumulator.
    pub const ALL: &'static [AccOp] = &[AccOp::CountRows, AccOp::Count, AccOp::Sum, AccOp::BitOr, AccOp::BitXor, AccOp::Min, AccOp::Max];

    /// Name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            AccOp::CountRows => "count_rows",
            AccOp::Count => "count",
            AccOp::Sum => "sum",
            AccOp::BitOr => "bit_or",
            AccOp::BitXor => "bit_xor",
            AccOp::Min => "min",
            AccOp::Max => "max",
        }
    }

    /// Whether it takes an argument.
    pub const fn takes_argument(self) -> bool {
        !matches!(self, AccOp::CountRows)
    }
}

/// Rows in an order, or the first of them. See [`crate::layout::RowLayout::sort`].
///
/// Every worker collects rows of its own; when the stage is complete they are put in order. Rows with equal keys stay in the order of the source as far as
/// the host tells it. Of a sort that fetches, rows that are surely not among the first may be dropped as they come.
#[derive(Clone, Debug, PartialEq)]
pub struct SortDecl {
    /// The keys, the most significant first. At least one.
    pub keys: Vec<SortKey>,
    /// Types of the other columns that are read after the sort.
    pub payload: Vec<Type>,
    /// First rows that are left out.
    pub skip: u64,
    /// Rows that come after those, at most.
    pub fetch: Option<u64>,
}

impl SortDecl {
    /// How many of the first rows matter; `None`: all.
    pub fn kept(&self) -> Option<u64> {
        self.fetch.map(|fetch| self.skip.saturating_add(fetch))
    }
}

/// A key of a sort. Floats are in IEEE 754's total order (-0.0 before 0.0, NaN after infinity), text is ordered by its bytes, false comes before true.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// Its type.
    pub ty: Type,
    /// Whether the greatest comes first.
    pub descending: bool,
    /// Whether nulls come first, be it ascending or descending.
    pub nulls_first: bool,
}

/// A row counter: skips the first rows that come, then lets some through. Which rows come first is not defined.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LimitDecl {
    /// Rows to skip.
    pub skip: u64,
    /// Rows to let through after those; `u64::MAX` for all.
    pub fetch: u64,
}
