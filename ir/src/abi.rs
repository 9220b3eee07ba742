//! The border between generated code and the runtime: layouts, status codes, the hash function, the builtins.
//!
//! Everything that both sides see is declared here, once. Generated code and the interpreter work on the same
//! states with the same layouts, so a stage can change engine between two morsels. Offsets are pinned by tests.
//!
//! # Calling a stage
//!
//! A stage function is [`StageFn`]: it takes a worker and a morsel, runs the morsel to its end and returns a [`Status`]. It never
//! blocks, never unwinds, and polls nothing: cancellation is looked at between morsels.

/// Most rows that a morsel may hold.
pub const MAX_MORSEL_ROWS: usize = 16_384;

/// Rows in the buffer of an emitting stage before it is flushed into a batch.
pub const OUT_ROWS: usize = 8_192;

/// A compiled stage.
pub type StageFn = unsafe extern "C" fn(worker: *mut WorkerHead, morsel: *const Morsel) -> i32;

/// What a stage function or a builtin returns.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// The morsel is done.
    Ok = 0,
    /// An error waits in the worker.
    Error = 1,
    /// The morsel is done, and no further row of this stage can reach the sink (a limit is full).
    Done = 2,
}

/// What generated code may raise (through the builtin `raise`).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ErrorCode {
    /// A result beyond its type.
    Overflow = 1,
    /// Division by zero.
    DivideByZero = 2,
    /// A value that the target of a cast cannot hold.
    Cast = 3,
    /// `substr` with a negative count.
    NegativeSubstringLength = 4,
    /// A function that is not defined for its operands.
    Function = 5,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: &'static [ErrorCode] =
        &[ErrorCode::Overflow, ErrorCode::DivideByZero, ErrorCode::Cast, ErrorCode::NegativeSubstringLength, ErrorCode::Function];

    /// The code of this number.
    pub fn from_i32(code: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| *c as i32 == code)
    }
}

/// A run of rows of one batch, or of one table.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Morsel {
    /// Number of rows, at most [`MAX_MORSEL_ROWS`].
    pub rows: u64,
    /// One for each value of the source; unused by sources that read a table.
    pub columns: *const ColumnView,
    /// The first row, for sources that read a table; rows lie next to each other at the stride of their
    /// [`crate::layout::RowLayout`].
    pub entries: *mut u8,
}

/// One column of a morsel, in Arrow's layout.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ColumnView {
    /// Address of the first row's value (need not be aligned), as it is stored ([`crate::types::Stored`]). `Bits`: the byte that holds bit 0, see
    /// `values_bit`.
    pub values: *const u8,
    /// Validity bitmap; 1 is valid. Never null: all ones where the column has no nulls.
    pub validity: *const u8,
    /// `View`: addresses of the data buffers. A dictionary: the address of its entries, [`StrRef`]s.
    pub buffers: *const *const u8,
    /// `Bits`: bit number of the first row.
    pub values_bit: u64,
    /// Bit number of the first row's validity.
    pub validity_bit: u64,
}

/// A string reference: 16 bytes, as in Umbra. Word 0 holds the length (low 32 bits) and the first four bytes (high 32 bits);
/// word 1 the next eight bytes where the length is at most 12 (unused bytes are zero), else the address of the whole text.
///
/// Arrow's views differ only in word 1 of a long text: buffer index (low 32 bits) and offset (high 32 bits).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrRef {
    /// Length and prefix.
    pub lo: u64,
    /// Rest or address.
    pub hi: u64,
}

/// Longest text that a [`StrRef`] holds within itself.
pub const STR_INLINE: u32 = 12;

/// What generated code sees of a worker. The runtime's worker begins with it.
#[repr(C)]
#[derive(Debug)]
pub struct WorkerHead {
    /// By number of the join.
    pub joins: *const JoinSlot,
    /// By number of the group table: this worker's own table.
    pub groups: *const *mut GroupsHead,
    /// By number of the limit; shared.
    pub limits: *const *const LimitHead,
    /// By number of the literal: the value in 16 bytes (integers sign-extended to 128 bits; floats as f64 bits; booleans 0/1; text as
    /// [`StrRef`]; null as zero). The program's parameters follow, two elements each: the value, and a word that is 1 unless it is null.
    pub literals: *const [u64; 2],
    /// By number of the value that an `in` or `like` defines in the running stage: what the builtins `in_set` and `str_like` take; null elsewhere.
    pub matchers: *const *const u8,
    /// Output buffers of an emitting stage.
    pub out: *mut OutHead,
    /// By number of the group table: buffers of what its calls take, if it has any. The first column (8 bytes) is the distance of the row's entry
    /// from `entries`, the others are the operands. When [`OUT_ROWS`] rows are in them, call the builtin `operands_flush`.
    pub operands: *const *mut OutHead,
    /// Room for [`MAX_MORSEL_ROWS`] row numbers, or for whatever else a stage function puts there; nothing outlives the call.
    pub selection: *mut u32,
    /// For each byte: the places of its set bits, in order, then zeros.
    pub compress: *const [u32; 8],
    /// By number of the sort: this worker's own rows.
    pub sorts: *const *mut RowsHead,
}

/// The table that [`WorkerHead::compress`] refers to.
pub static COMPRESS: [[u32; 8]; 256] = compress();

const fn compress() -> [[u32; 8]; 256] {
    let mut table = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut bit, mut place) = (0, 0);
        while bit < 8 {
            if byte & (1 << bit) != 0 {
                table[byte][place] = bit;
                place += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    table
}

/// What a worker sees of a join table.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct JoinSlot {
    /// While building: this worker's rows.
    pub rows: *mut RowsHead,
    /// While probing: the finished table, shared.
    pub table: *const JoinHead,
}

/// Rows next to each other, growing: the entries that one worker built for a join table, or collected for a sort.
#[repr(C)]
#[derive(Debug)]
pub struct RowsHead {
    /// Address of the first entry.
    pub base: *mut u8,
    /// Bytes in use. A multiple of the stride.
    pub used: u64,
    /// Bytes there are. Where `used == capacity`, call the builtin `join_grow` or `sort_grow` first (new rows are not zeroed); the
    /// latter may also drop rows, so that less is in use after it.
    pub capacity: u64,
    /// Of numeric keys: the least that is not null. Starts as the greatest number.
    pub least: i64,
    /// Of numeric keys: the greatest that is not null. Starts as the least number.
    pub greatest: i64,
    /// Of sorts: a row is not wanted if the [`sort_word`] of its first key is greater. The greatest number where all rows are wanted.
    pub threshold: u64,
}

/// What stands for the order of a sort's first key, as an integer without sign: where one row comes before another, its word is not greater.
///
/// `bits` are, of booleans, integers, decimals and dates: the value, extended to 64 bits by its sign (if its type has one), of 128 bits the high half; of floats: their
/// bits ([`SortWord::Float`], sign-extended); of text and bytes: the first four bytes, the first the most significant, above 32 zeros ([`SortWord::Unsigned`]). The word
/// of a null is 0 where nulls come first, else the greatest number.
#[inline(always)]
pub const fn sort_word(bits: u64, kind: SortWord, descending: bool) -> u64 {
    const SIGN: u64 = 1 << 63;
    let word = match kind {
        SortWord::Unsigned => bits,
        SortWord::Signed => bits ^ SIGN,
        // All other bits of what is negative are turned over: greater bits are less then.
        SortWord::Float => bits ^ ((bits as i64 >> 63) as u64 >> 1) ^ SIGN,
    };
    if descending { !word } else { word }
}

/// The bits that have this [`sort_word`].
#[inline(always)]
pub const fn sort_bits(word: u64, kind: SortWord, descending: bool) -> u64 {
    const SIGN: u64 = 1 << 63;
    let word = if descending { !word } else { word };
    match kind {
        SortWord::Unsigned => word,
        SortWord::Signed => word ^ SIGN,
        SortWord::Float => {
            let bits = word ^ SIGN;
            bits ^ ((bits as i64 >> 63) as u64 >> 1)
        }
    }
}

/// How the bits of a sort's first key are ordered.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum SortWord {
    /// As integers without sign.
    Unsigned,
    /// As integers with sign.
    Signed,
    /// As floats.
    Float,
}

impl SortWord {
    /// How values of a type are ordered.
    pub const fn of(sql: crate::types::SqlType) -> Self {
        use crate::types::SqlType;
        match sql {
            SqlType::Boolean | SqlType::UInt8 | SqlType::UInt16 | SqlType::UInt32 | SqlType::UInt64 => SortWord::Unsigned,
            SqlType::Utf8 | SqlType::Binary => SortWord::Unsigned,
            SqlType::Float32 | SqlType::Float64 => SortWord::Float,
            SqlType::Int8 | SqlType::Int16 | SqlType::Int32 | SqlType::Int64 => SortWord::Signed,
            SqlType::Decimal { .. } | SqlType::Decimal32 { .. } | SqlType::Decimal64 { .. } => SortWord::Signed,
            SqlType::Date32 | SqlType::Date64 | SqlType::Time(_) | SqlType::Timestamp(_) => SortWord::Signed,
            SqlType::Duration(_) | SqlType::IntervalMonths => SortWord::Signed,
            // No key is of such a type.
            SqlType::Host(_) => SortWord::Unsigned,
        }
    }
}

/// A finished join table.
///
/// Where a numeric key ([`crate::layout::RowLayout::numeric`]) takes few enough different values it addresses the table **directly**: `direct` has an element
/// for each number from `first` on, `range` in all; it is 0, or the number of the chain's first entry ([`entry_number`]). All entries of such a
/// chain have that key, and a key out of range has no match. Otherwise `range` is 0 and the directory is used; where
/// `range` is not 0 the directory is empty.
///
/// A slot of the directory is 0, or holds the address of the chain's first entry in its low 48 bits and in its high 16 bits a filter: the
/// union of [`join_tag`] over the chain's entries. The slot of hash *h* is `h & mask`. Where `turn` is not 0 the directory is in the order of a numeric key, which no row
/// has null: its [`order_word`] takes the place of the hash. Entries are chained through their first word (0 ends a chain). Rows with a null key that can match nothing are not in the directory.
#[repr(C)]
#[derive(Debug)]
pub struct JoinHead {
    /// `mask + 1` slots.
    pub directory: *const u64,
    /// Number of slots (a power of two) less one.
    pub mask: u64,
    /// `range` elements.
    pub direct: *const u32,
    /// The key of the first of them; or the least key of a directory in the order of keys.
    pub first: i64,
    /// How many elements there are; 0: the directory is used.
    pub range: u64,
    /// Addresses of the buffers that entries lie in.
    pub bases: *const u64,
    /// Which numeric keys there are, a bit for each number from `bits_first` on, `bits_range` in all; a key out of range is not there. Null: the table has
    /// no such bitmap, since its keys are spread too far, or it would rule out too little.
    pub bits: *const u8,
    /// The key of the first bit.
    pub bits_first: i64,
    /// How many bits there are.
    pub bits_range: u64,
    /// Bytes that a look-up may lead to: those of slots or elements, and of entries.
    pub bytes: u64,
    /// By how many bits [`order_word`] turns, where the directory is in the order of keys: 1 to 63. Else 0.
    pub turn: u64,
}

/// Bits of an entry's number that say which row of its buffer it is.
pub const ENTRY_ROW_BITS: u32 = 26;

/// The number of an entry in a directly addressed join table: row `row` of buffer `buffer`; never 0. `None` where it has none.
#[inline(always)]
pub const fn entry_number(buffer: usize, row: usize) -> Option<u32> {
    // The greatest row is left free, so that no number overflows.
    if buffer < 1 << (32 - ENTRY_ROW_BITS) && row + 1 < 1 << ENTRY_ROW_BITS {
        Some(((buffer << ENTRY_ROW_BITS) + row + 1) as u32)
    } else {
        None
    }
}

/// One worker's group table: open addressing with linear probing over entries next to each other.
///
/// A numeric key ([`crate::layout::RowLayout::numeric`]) addresses the table **directly** where it lies in a range that the table chooses: `direct` has an
/// element for each number from `first` on, `range` in all; it is 0, or the number of the entry from 1 on. Such keys are not in the slots; null and keys
/// out of range are. Where `range` is not 0 and `direct` is null the entries themselves are **spread**: entry `n + 1` is that of number `first + n`, for the whole range, from the start;
/// it is a group once the key stands in it, which whoever accumulates a row into it writes. Entries behind those are found by the slots. A table is spread between two morsels only, and only if
/// it may be ([`crate::layout::may_spread`]).
///
/// Between two morsels the runtime may also have every look-up fail: the entries are **loose** then, several may be of one group, and merging puts those together.
/// So nobody holds the place of an entry from one morsel to the next, but of tables that have a front or calls, which are never loose.
///
/// A slot is 0, or holds the byte offset of an entry from `entries` in its low 48 bits (never 0: the first stride is left free) and the
/// high 16 bits of the entry's hash in its high 16 bits. The first slot of hash *h* is `h & mask`; look on at the next slot
/// (wrapping) until an empty one.
#[repr(C)]
#[derive(Debug)]
pub struct GroupsHead {
    /// `mask + 1` slots.
    pub slots: *mut u64,
    /// Number of slots (a power of two) less one.
    pub mask: u64,
    /// Start of the entries; the first entry lies one stride after it. Moves when the table grows, which only `groups_insert` does.
    pub entries: *mut u8,
    /// Number of entries. A table without keys has its one entry from the start.
    pub rows: u64,
    /// `range` elements.
    pub direct: *mut u32,
    /// The key of the first of them.
    pub first: i64,
    /// How many there are.
    pub range: u64,
    /// Ahead of the slots, where the stage that fills the table has coded keys ([`crate::layout::coded_keys`]): for each combination of codes (the first
    /// key's counts most) 0, or the byte offset of its entry from `entries`, once a native stage has found it. Else null.
    pub front: *mut u64,
}

/// A row counter.
#[repr(C)]
#[derive(Debug)]
pub struct LimitHead {
    /// Rows that have come, of all workers; changed atomically.
    pub seen: u64,
}

/// Output buffers of an emitting stage, or of the operands of a group table.
#[repr(C)]
#[derive(Debug)]
pub struct OutHead {
    /// One for each output column.
    pub columns: *const OutColumn,
    /// Rows in the buffers. When it reaches [`OUT_ROWS`], call the builtin `emit_flush`, which sets it to 0.
    pub rows: u64,
}

/// An output column: values in the default representation of their SQL type (decimals 16 bytes, text a [`StrRef`], booleans a byte).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OutColumn {
    /// Room for [`OUT_ROWS`] values.
    pub values: *mut u8,
    /// Room for [`OUT_ROWS`] bytes, 1 is valid. Only written and read where the output column is nullable.
    pub valid: *mut u8,
}

/// Multiplier of [`hash_word`].
pub const HASH_K: u64 = 0x9E37_79B9_7F4A_7C15;
/// Start value of a hash.
pub const HASH_SEED: u64 = 0x2545_F491_4F6C_DD1D;
/// The bits of hashes that count: all of them.
pub const HASH_ALL: u64 = u64::MAX;
/// The bits of hashes that count where tests want keys to collide: there are four hashes then, which differ in the slot, in the tag and in the partition. Native code
/// and runtime have to be told the same: both mask the hash of all keys, once these have been mixed.
pub const HASH_COLLIDING: u64 = 1 << 63 | 1;
/// Stands for the words of a null key.
pub const HASH_NULL: u64 = 0xA076_1D64_78BD_642F;

/// Mixes the two words of one key into a hash: `fold((h ^ w0), (w1 ^ HASH_K))`, where `fold` is the exclusive or of
/// the low and high half of the 128-bit product.
///
/// A hash starts with [`HASH_SEED`] and takes the keys in order. Words of a key: booleans and integers up to 64 bits, sign-extended from their representation, and 0;
/// floats: their bits zero-extended, and 0; `i128`: low and high half; text: the two words of its
/// [`StrRef`] where it is at most [`STR_INLINE`] bytes long, else its first word and [`fold_text`] of it; null: [`HASH_NULL`] and 0.
#[inline(always)]
pub const fn hash_word(h: u64, w0: u64, w1: u64) -> u64 {
    let product = (h ^ w0) as u128 * (w1 ^ HASH_K) as u128;
    product as u64 ^ (product >> 64) as u64
}

/// What stands for the second word of a text longer than [`STR_INLINE`] bytes in a hash: eight bytes from the fifth on, eight from the middle, and the last
/// eight. With length and first bytes, which the first word has, most texts that differ do so here; the others are told apart by
/// comparison. Reading all of a long text costs more than that.
#[inline(always)]
pub fn fold_text(text: &[u8]) -> u64 {
    let word = |at: usize| u64::from_le_bytes(text[at..at + 8].try_into().expect("eight bytes"));
    let behind = text.len() - 8;
    word(4) ^ word(behind / 2).rotate_left(21) ^ word(behind).rotate_left(43)
}

/// The filter bit of a hash in a join directory's slot: one of 16, in the high 16 bits.
#[inline(always)]
pub const fn join_tag(hash: u64) -> u64 {
    1 << (48 + (hash >> 60))
}

/// What finds the slot of a number in a directory in the order of keys: its low bits go up with the number, one for each 2^`turn` numbers, and its highest bits, of which
/// [`join_tag`] makes the filter, are the next ones of the number.
#[inline(always)]
pub const fn order_word(number: i64, first: i64, turn: u64) -> u64 {
    (number.wrapping_sub(first) as u64).rotate_right(turn as u32)
}

/// Bits of a directory slot or group slot that hold an address or offset.
pub const SLOT_ADDRESS: u64 = (1 << 48) - 1;

/// A register type in a builtin's signature.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum AbiType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 64-bit float.
    F64,
    /// Address.
    Ptr,
}

/// Calls a macro with the table of builtins: `name(args) -> result`, with documentation. The runtime implements each as
/// `unsafe extern "C" fn`; the compiler declares each from here. Nothing else can be called by generated code.
///
/// 128-bit integers and [`StrRef`]s go in as two `I64` (low or first word first) and come out through a pointer to 16 bytes.
#[macro_export]
macro_rules! for_each_builtin {
    ($m:ident) => {
        $m! {
            /// Adds a group to this worker's group table number `groups` and returns its entry: hash set (where it has one), all else zero. The caller
            /// writes the keys. `key` is a numeric key, if `valid` is 1; `hash` need not be set where that is within the direct range.
            groups_insert(worker: Ptr, groups: I32, hash: I64, key: I64, valid: I32) -> Ptr;
            /// Makes room for one more row in this worker's rows of join number `join`. Returns a status.
            join_grow(worker: Ptr, join: I32) -> I32;
            /// Makes room for one more row in this worker's rows of sort number `sort`. Returns a status.
            sort_grow(worker: Ptr, sort: I32) -> I32;
            /// Turns the output buffers into a batch and empties them. Returns a status.
            emit_flush(worker: Ptr) -> I32;
            /// Hands the buffered operands of group table number `groups` to the host's functions and empties the buffers. Returns a status.
            operands_flush(worker: Ptr, groups: I32) -> I32;
            /// Leaves an error (an `ErrorCode`) in the worker, raised by value number `value` of the running stage.
            raise(worker: Ptr, code: I32, value: I32) -> I32;
            /// Copies a text longer than 12 bytes into this worker's arena and returns its new address (the new second word).
            str_intern(worker: Ptr, lo: I64, hi: I64) -> I64;
            /// Whether `len` bytes at two addresses are equal: 1 or 0.
            bytes_equal(a: I64, b: I64, len: I64) -> I32;
            /// Compares two texts by bytes: negative, 0, positive.
            str_compare(a_lo: I64, a_hi: I64, b_lo: I64, b_hi: I64) -> I32;
            /// Whether a text matches a prepared LIKE pattern: 1 or 0.
            str_like(matcher: Ptr, lo: I64, hi: I64) -> I32;
            /// Whether a value (16 bytes as in the literal table) is in a prepared set: 1 or 0.
            in_set(matcher: Ptr, lo: I64, hi: I64) -> I32;
            /// `substr` by characters into `out` (a `StrRef`, 16 bytes); `count` is `i64::MAX` where it is not given. Long results refer to the operand's bytes.
            str_substr(out: Ptr, lo: I64, hi: I64, start: I64, count: I64) -> I32;
            /// Number of characters.
            str_char_length(lo: I64, hi: I64) -> I32;
            /// Product of two 128-bit integers into `out` (16 bytes); returns 1 where it overflows, else 0.
            i128_mul(out: Ptr, a_lo: I64, a_hi: I64, b_lo: I64, b_hi: I64) -> I32;
            /// Quotient of two 128-bit integers, truncated, into `out`; the divisor is neither 0 nor (with the smallest dividend) -1.
            i128_div(out: Ptr, a_lo: I64, a_hi: I64, b_lo: I64, b_hi: I64) -> I32;
            /// Remainder of two 128-bit integers into `out`; the divisor is neither 0 nor -1.
            i128_rem(out: Ptr, a_lo: I64, a_hi: I64, b_lo: I64, b_hi: I64) -> I32;
            /// A 128-bit integer as the nearest float, divided by 10 to the power of `scale` (as Arrow casts a decimal).
            i128_to_f64(lo: I64, hi: I64, scale: I32) -> F64;
            /// A float as a decimal of this precision and scale, into `out`; returns 1 where it does not fit, else 0.
            f64_to_decimal(out: Ptr, value: F64, precision: I32, scale: I32) -> I32;
            /// A 128-bit integer rescaled by 10 to the power of `shift` (negative: rounded half away from zero) and checked against
            /// `precision`, into `out`; returns 1 where it does not fit, else 0.
            decimal_rescale(out: Ptr, lo: I64, hi: I64, shift: I32, precision: I32) -> I32;
            /// Calls function number `function` with `count` operands, 16 bytes each (see [`crate::function`]); writes the result to `out`. Long text
            /// lies in this worker's scratch memory, which stays until the stage's rows have been flushed. Returns 0, or 1 where the result is null,
            /// or 2 where the call failed: the error, raised by value number `value` of the running stage, waits in the worker then.
            function_call(worker: Ptr, function: I32, value: I32, args: Ptr, count: I32, out: Ptr) -> I32;
            /// Asks for memory that will soon be written to: `count` addresses (8 bytes each) lie at `addresses`, and what is `behind` bytes behind each is
            /// wanted, too. Reads and writes none of it; any address is good.
            prefetch(addresses: Ptr, count: I64, behind: I64) -> I32;
            /// Asks for what rows will soon look at in a join table (a `JoinHead`): the slots or elements that their keys lead to, then the entries that lie there, of
            /// `stride` bytes. `count` words lie at `keys`, which this overwrites: numeric keys, where `numeric` is 1, else hashes.
            prefetch_join(table: Ptr, keys: Ptr, count: I64, stride: I64, numeric: I32) -> I32;
            /// C's fmod.
            f64_rem(a: F64, b: F64) -> F64;
        }
    };
}

/// Makes the enum of builtins with their signatures.
macro_rules! declare_builtins {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ident),*) -> $ret:ident;)*) => {
        /// A Rust function that generated code may call. The table is closed: [`crate::for_each_builtin`].
        #[allow(non_camel_case_types, reason = "variants carry the names of the functions")]
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Builtin { $($(#[$doc])* $name,)* }

        impl Builtin {
            /// Every builtin, in order.
            pub const ALL: &'static [Builtin] = &[$(Builtin::$name,)*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Builtin::$name => stringify!($name),)* }
            }

            /// Types of its parameters.
            pub const fn params(self) -> &'static [AbiType] {
                match self { $(Builtin::$name => &[$(AbiType::$ty,)*],)* }
            }

            /// Type of its result.
            pub const fn result(self) -> AbiType {
                match self { $(Builtin::$name => AbiType::$ret,)* }
            }
        }
    };
}
for_each_builtin!(declare_builtins);

/// Addresses of the builtins, by [`Builtin`]. The runtime makes it, the compiler links against it.
#[derive(Clone, Debug)]
pub struct BuiltinTable {
    /// One address for each of [`Builtin::ALL`].
    pub addresses: Vec<*const u8>,
}

impl BuiltinTable {
    /// The address of a builtin.
    pub fn address(&self, builtin: Builtin) -> *const u8 {
        self.addresses[builtin as usize]
    }
}

// SAFETY: the addresses are those of functions, which live as long as the process and may be called from any thread.
unsafe impl Send for BuiltinTable {}
// SAFETY: as above.
unsafe impl Sync for BuiltinTable {}
