//! Types of values: the SQL type, whether a null may occur, and how the value is held in a register.

use std::fmt;

use crate::entities::HostType;

/// What a time counts.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum TimeUnit {
    /// Seconds.
    Second,
    /// Thousandths of a second.
    Millisecond,
    /// Millionths of a second.
    Microsecond,
    /// Billionths of a second.
    Nanosecond,
}

impl TimeUnit {
    /// Every unit.
    pub const ALL: &'static [TimeUnit] = &[TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];

    /// Name in the text form, behind that of the type.
    pub const fn name(self) -> &'static str {
        match self {
            TimeUnit::Second => "s",
            TimeUnit::Millisecond => "ms",
            TimeUnit::Microsecond => "us",
            TimeUnit::Nanosecond => "ns",
        }
    }

    /// How many there are in a second.
    pub const fn per_second(self) -> i64 {
        match self {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        }
    }
}

/// The SQL type of a value, as far as the IR speaks it. Mirrors Arrow's `DataType` in meaning.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum SqlType {
    /// True or false.
    Boolean,
    /// Signed integer, 8 bits.
    Int8,
    /// Signed integer, 16 bits.
    Int16,
    /// Signed integer, 32 bits.
    Int32,
    /// Signed integer, 64 bits.
    Int64,
    /// Unsigned integer, 8 bits.
    UInt8,
    /// Unsigned integer, 16 bits.
    UInt16,
    /// Unsigned integer, 32 bits.
    UInt32,
    /// Unsigned integer, 64 bits.
    UInt64,
    /// IEEE 754 binary32.
    Float32,
    /// IEEE 754 binary64.
    Float64,
    /// A decimal number: an integer of at most `precision` digits, divided by 10 to the power of `scale`.
    Decimal {
        /// Number of decimal digits, 1 to 38.
        precision: u8,
        /// Digits behind the decimal point; negative for whole tens, hundreds, and so on.
        scale: i8,
    },
    /// A decimal number in 32 bits: an integer of at most `precision` digits (1 to 9), divided by 10 to the power of `scale`. It is compared and
    /// handed on; there is no arithmetic.
    Decimal32 {
        /// Number of decimal digits.
        precision: u8,
        /// Digits behind the decimal point.
        scale: i8,
    },
    /// As [`SqlType::Decimal32`], in 64 bits (1 to 18 digits).
    Decimal64 {
        /// Number of decimal digits.
        precision: u8,
        /// Digits behind the decimal point.
        scale: i8,
    },
    /// Days since 1970-01-01.
    Date32,
    /// Milliseconds since 1970-01-01.
    Date64,
    /// Time of day.
    Time(TimeUnit),
    /// Time since 1970-01-01, in UTC. Of which time zone it is shown does not matter here: the host knows.
    Timestamp(TimeUnit),
    /// A span of time.
    Duration(TimeUnit),
    /// Months.
    IntervalMonths,
    /// UTF-8 text.
    Utf8,
    /// A type that only the host knows, such as a list. Its values are references to rows of the host's arrays, see [`Storage::Rows`]: they are
    /// carried along and handed to opaque expressions, not looked into.
    Host(HostType),
    /// Bytes; compared as such.
    Binary,
}

/// How a value is held in a register and in the rows of a table.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Repr {
    /// One byte, 0 or 1.
    Bool,
    /// 8-bit integer.
    I8,
    /// 16-bit integer.
    I16,
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 128-bit integer.
    I128,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// A 16-byte string reference, see [`crate::abi::StrRef`].
    Str,
}

impl Repr {
    /// Every representation.
    pub const ALL: &'static [Repr] = &[Repr::Bool, Repr::I8, Repr::I16, Repr::I32, Repr::I64, Repr::I128, Repr::F32, Repr::F64, Repr::Str];

    /// Bytes that a value takes in a table's row and in an output column.
    pub const fn bytes(self) -> u32 {
        match self {
            Repr::Bool | Repr::I8 => 1,
            Repr::I16 => 2,
            Repr::I32 | Repr::F32 => 4,
            Repr::I64 | Repr::F64 => 8,
            Repr::I128 | Repr::Str => 16,
        }
    }

    /// Whether the value is an integer of some width.
    pub const fn is_int(self) -> bool {
        matches!(self, Repr::I8 | Repr::I16 | Repr::I32 | Repr::I64 | Repr::I128)
    }

    /// Name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            Repr::Bool => "bool",
            Repr::I8 => "i8",
            Repr::I16 => "i16",
            Repr::I32 => "i32",
            Repr::I64 => "i64",
            Repr::I128 => "i128",
            Repr::F32 => "f32",
            Repr::F64 => "f64",
            Repr::Str => "str",
        }
    }
}

/// How a column of this type lies in a morsel: Arrow's own layout, so that scans copy nothing.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// One bit a row.
    Bits,
    /// Little-endian values of this many bytes.
    Fixed(u32),
    /// 16-byte views (Arrow's `Utf8View`, `BinaryView`) with data buffers beside.
    View,
    /// Rows of an array of the host. What stands for the address of the values is the reference to the first row: the array's number in the
    /// high 32 bits, the row's in the low. That of the next row is one more.
    Rows,
}

/// How a column of an input lies in a morsel: what a host that keeps tables narrow may hand over in place of Arrow's layout.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stored {
    /// Arrow's layout, see [`Storage`].
    Arrow,
    /// Integers, dates, times and decimals, less `base`, without sign in [`Stored::bytes`] bytes (a frame of reference). A null lies there as zero.
    Offset {
        /// The least value.
        base: i64,
        /// The greatest value, less the least.
        span: u64,
    },
    /// Text, as numbers of dictionary entries in [`Stored::bytes`] bytes. The column's buffers are the entries: one
    /// [`crate::abi::StrRef`] each.
    Dictionary {
        /// Entries that there are.
        entries: u32,
    },
    /// Decimals of at most 18 digits, in 8 bytes with sign: Arrow's `Decimal64`, of the same digits.
    Word,
}

impl Stored {
    /// Bytes of a value of this SQL type. Of bits: 1.
    pub const fn bytes(self, sql: SqlType) -> u32 {
        match self {
            Stored::Arrow => match sql.storage() {
                Storage::Bits => 1,
                Storage::Fixed(bytes) => bytes,
                Storage::View => 16,
                Storage::Rows => 8,
            },
            Stored::Offset { span, .. } if span <= u8::MAX as u64 => 1,
            Stored::Offset { span, .. } if span <= u16::MAX as u64 => 2,
            Stored::Offset { span, .. } if span <= u32::MAX as u64 => 4,
            Stored::Offset { .. } | Stored::Word => 8,
            Stored::Dictionary { entries } if entries <= 1 << 8 => 1,
            Stored::Dictionary { entries } if entries <= 1 << 16 => 2,
            Stored::Dictionary { .. } => 4,
        }
    }

    /// The type of the numbers of dictionary entries, where they are what is stored.
    pub const fn numbers(self) -> Option<SqlType> {
        match self {
            Stored::Dictionary { .. } => Some(match self.bytes(SqlType::Utf8) {
                1 => SqlType::UInt8,
                2 => SqlType::UInt16,
                _ => SqlType::UInt32,
            }),
            Stored::Arrow | Stored::Offset { .. } | Stored::Word => None,
        }
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stored::Arrow => Ok(()),
            Stored::Offset { base, span } => write!(f, " offset({base}, {span})"),
            Stored::Dictionary { entries } => write!(f, " dictionary({entries})"),
            Stored::Word => f.write_str(" word"),
        }
    }
}

impl SqlType {
    /// The widest representation, which every value of the type fits in.
    pub const fn default_repr(self) -> Repr {
        match self {
            SqlType::Boolean => Repr::Bool,
            SqlType::Int8 | SqlType::UInt8 => Repr::I8,
            SqlType::Int16 | SqlType::UInt16 => Repr::I16,
            SqlType::Int32 | SqlType::UInt32 | SqlType::Date32 | SqlType::IntervalMonths | SqlType::Decimal32 { .. } => Repr::I32,
            SqlType::Time(TimeUnit::Second | TimeUnit::Millisecond) => Repr::I32,
            SqlType::Int64 | SqlType::UInt64 | SqlType::Date64 | SqlType::Decimal64 { .. } | SqlType::Host(_) => Repr::I64,
            SqlType::Time(_) | SqlType::Timestamp(_) | SqlType::Duration(_) => Repr::I64,
            SqlType::Float32 => Repr::F32,
            SqlType::Float64 => Repr::F64,
            SqlType::Decimal { .. } => Repr::I128,
            SqlType::Utf8 | SqlType::Binary => Repr::Str,
        }
    }

    /// How columns of this type lie in a morsel, and values in output columns.
    pub const fn storage(self) -> Storage {
        match self {
            SqlType::Boolean => Storage::Bits,
            SqlType::Utf8 | SqlType::Binary => Storage::View,
            SqlType::Host(_) => Storage::Rows,
            other => Storage::Fixed(other.default_repr().bytes()),
        }
    }

    /// Whether the type is an integer without sign.
    pub const fn is_unsigned(self) -> bool {
        matches!(self, SqlType::UInt8 | SqlType::UInt16 | SqlType::UInt32 | SqlType::UInt64)
    }

    /// Whether the type is an integer, with or without sign.
    pub const fn is_integer(self) -> bool {
        matches!(self, SqlType::Int8 | SqlType::Int16 | SqlType::Int32 | SqlType::Int64) || self.is_unsigned()
    }

    /// Whether the type is a float.
    pub const fn is_float(self) -> bool {
        matches!(self, SqlType::Float32 | SqlType::Float64)
    }

    /// Whether only the host knows the type.
    pub const fn is_host(self) -> bool {
        matches!(self, SqlType::Host(_))
    }

    /// Whether the type counts days or parts of a second.
    pub const fn is_temporal(self) -> bool {
        matches!(
            self,
            SqlType::Date32 | SqlType::Date64 | SqlType::Time(_) | SqlType::Timestamp(_) | SqlType::Duration(_) | SqlType::IntervalMonths
        )
    }

    /// The scale of a decimal that arithmetic knows.
    pub const fn scale(self) -> Option<i8> {
        match self {
            SqlType::Decimal { scale, .. } => Some(scale),
            _ => None,
        }
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            SqlType::Boolean => "boolean",
            SqlType::Int8 => "int8",
            SqlType::Int16 => "int16",
            SqlType::Int32 => "int32",
            SqlType::Int64 => "int64",
            SqlType::UInt8 => "uint8",
            SqlType::UInt16 => "uint16",
            SqlType::UInt32 => "uint32",
            SqlType::UInt64 => "uint64",
            SqlType::Float32 => "float32",
            SqlType::Float64 => "float64",
            SqlType::Decimal { precision, scale } => return write!(f, "decimal({precision},{scale})"),
            SqlType::Decimal32 { precision, scale } => return write!(f, "decimal32({precision},{scale})"),
            SqlType::Decimal64 { precision, scale } => return write!(f, "decimal64({precision},{scale})"),
            SqlType::Date32 => "date32",
            SqlType::Date64 => "date64",
            SqlType::Time(unit) => return write!(f, "time_{}", unit.name()),
            SqlType::Timestamp(unit) => return write!(f, "timestamp_{}", unit.name()),
            SqlType::Duration(unit) => return write!(f, "duration_{}", unit.name()),
            SqlType::IntervalMonths => "interval_months",
            SqlType::Utf8 => "utf8",
            SqlType::Host(host) => return write!(f, "{host}"),
            SqlType::Binary => "binary",
        };
        f.write_str(name)
    }
}

/// The type of a value: SQL type, physical representation, nullability.
///
/// Text form: `int64`, `decimal(15,2):i64` where the representation is not the default, a trailing `?` where nulls may occur.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// What the value means.
    pub sql: SqlType,
    /// How it is held.
    pub repr: Repr,
    /// Whether a null may occur. A value that is not nullable carries no validity anywhere.
    pub nullable: bool,
}

impl Type {
    /// A type in its default representation.
    pub const fn new(sql: SqlType, nullable: bool) -> Self {
        Type { sql, repr: sql.default_repr(), nullable }
    }

    /// A boolean.
    pub const fn boolean(nullable: bool) -> Self {
        Type::new(SqlType::Boolean, nullable)
    }

    /// The same type with another nullability.
    pub const fn with_nullable(self, nullable: bool) -> Self {
        Type { nullable, ..self }
    }

    /// The same type in another representation.
    pub const fn with_repr(self, repr: Repr) -> Self {
        Type { repr, ..self }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sql)?;
        if self.repr != self.sql.default_repr() {
            write!(f, ":{}", self.repr.name())?;
        }
        if self.nullable { f.write_str("?") } else { Ok(()) }
    }
}
