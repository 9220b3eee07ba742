//! Scalar operations, each declared once. Printer, parser, verifier and both engines match on these tables exhaustively.

use crate::entities::{Input, Lit, Opaque, Param, Value};
use crate::function::Function;

/// What an operation does with nulls.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Nulls {
    /// Null where any operand is null; otherwise not null.
    Strict,
    /// A rule of its own, stated in the operation's documentation.
    Own,
}

/// Declares an operation enum with its text name, null behaviour and whether it can fail.
macro_rules! operations {
    ($(#[$enum_doc:meta])* $enum:ident { $($(#[$doc:meta])* $variant:ident = $name:literal, $nulls:ident, $fails:literal;)* }) => {
        $(#[$enum_doc])*
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
        pub enum $enum { $($(#[$doc])* $variant,)* }

        impl $enum {
            /// Every operation of this kind.
            pub const ALL: &'static [$enum] = &[$($enum::$variant,)*];

            /// Name in the text form.
            pub const fn name(self) -> &'static str {
                match self { $($enum::$variant => $name,)* }
            }

            /// What it does with nulls.
            pub const fn nulls(self) -> Nulls {
                match self { $($enum::$variant => Nulls::$nulls,)* }
            }

            /// Whether it can raise an error.
            pub const fn can_fail(self) -> bool {
                match self { $($enum::$variant => $fails,)* }
            }

            /// The operation of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some($enum::$variant),)* _ => None }
            }
        }
    };
}

operations! {
    /// Operations of one operand.
    UnaryOp {
        /// Logical not. Boolean to boolean.
        Not = "not", Strict, false;
        /// Arithmetic negation: integers wrap, floats flip the sign, decimals only where the range proves that they fit.
        Neg = "neg", Strict, false;
        /// Negation that fails with `Overflow`. Integers and decimals.
        NegChecked = "neg_checked", Strict, true;
        /// True where the operand is null. Never null.
        IsNull = "is_null", Own, false;
        /// True where the operand is not null. Never null.
        IsNotNull = "is_not_null", Own, false;
        /// True where the boolean operand is true; false where it is false or null. Never null.
        IsTrue = "is_true", Own, false;
        /// Change of type that cannot fail: integer to wider integer, integer or decimal to float, float to float,
        /// integer to decimal that provably fits (scaled up), decimal to decimal of the same scale (another representation or
        /// precision, where the range proves that it fits), what counts days, times or the like to and from the
        /// integer of its width, boolean to integer, any type to itself.
        /// Adds nullability where the result type has it.
        Convert = "convert", Strict, false;
        /// Change of type that may fail with `Cast` or `Overflow`: integer to any integer, float to integer (truncating), integer to
        /// decimal, decimal to decimal of another scale (rounding half away from zero) or precision (checked), decimal to integer
        /// (truncating), float to decimal.
        Cast = "cast", Strict, true;
        /// As [`UnaryOp::Cast`]; null where that fails. The result is nullable.
        TryCast = "try_cast", Own, false;
        /// The value, nullability removed: the operand is known not to be null here (below an `is_not_null`).
        AssumeValid = "assume_valid", Own, false;
        /// Year of a date32, as int32.
        Year = "year", Strict, false;
        /// Month of a date32, 1 to 12, as int32.
        Month = "month", Strict, false;
        /// Day of the month of a date32, 1 to 31, as int32.
        Day = "day", Strict, false;
        /// Number of characters of a text, as int32.
        CharLength = "char_length", Strict, false;
        /// Absolute value of a float; of an integer or decimal fails with `Overflow`.
        Abs = "abs", Strict, true;
    }
}

operations! {
    /// Operations of two operands.
    BinaryOp {
        /// Sum. Integers wrap; floats follow IEEE 754; decimals have one scale and only occur where the range proves the result fits.
        Add = "add", Strict, false;
        /// Difference, as [`BinaryOp::Add`].
        Sub = "sub", Strict, false;
        /// Product, as [`BinaryOp::Add`]; a decimal's scale is the sum of the operands' scales. Two `i64` operands may have an `i128` result.
        Mul = "mul", Strict, false;
        /// Sum that fails with `Overflow` beyond the result's *representation in its default width* (integers: their width; decimals: 128 bits).
        AddChecked = "add_checked", Strict, true;
        /// Difference, as [`BinaryOp::AddChecked`].
        SubChecked = "sub_checked", Strict, true;
        /// Product, as [`BinaryOp::AddChecked`]; a decimal's scale is the sum of the operands' scales.
        MulChecked = "mul_checked", Strict, true;
        /// Quotient. Integers and decimals truncate towards zero, fail with `DivideByZero` and (smallest / -1) `Overflow`; floats follow
        /// IEEE 754. A decimal's scale is the difference of the operands' scales.
        Div = "div", Strict, true;
        /// Remainder with the sign of the dividend. Integers and decimals (of one scale) fail with `DivideByZero`; floats as C's fmod.
        Rem = "rem", Strict, true;
        /// Bitwise and. Integers.
        BitAnd = "bit_and", Strict, false;
        /// Bitwise or. Integers.
        BitOr = "bit_or", Strict, false;
        /// Bitwise exclusive or. Integers.
        BitXor = "bit_xor", Strict, false;
        /// Bits moved to the left by the second operand, modulo the type's width. Integers.
        ShiftLeft = "shift_left", Strict, false;
        /// Bits moved to the right by the second operand, modulo the type's width; the sign stays. Integers.
        ShiftRight = "shift_right", Strict, false;
        /// Equal. Operands of one SQL type (decimals: one scale). Floats compare in IEEE 754 totalOrder, as Arrow does: NaN equals
        /// itself and is greatest, -0.0 is less than 0.0. Text compares bytes, booleans false before true.
        Eq = "eq", Strict, false;
        /// Not equal.
        Ne = "ne", Strict, false;
        /// Less.
        Lt = "lt", Strict, false;
        /// Less or equal.
        Le = "le", Strict, false;
        /// Greater.
        Gt = "gt", Strict, false;
        /// Greater or equal.
        Ge = "ge", Strict, false;
        /// Equal, where null equals null (`IS NOT DISTINCT FROM`). Never null.
        NotDistinct = "not_distinct", Own, false;
        /// The opposite of [`BinaryOp::NotDistinct`] (`IS DISTINCT FROM`). Never null.
        Distinct = "distinct", Own, false;
        /// Three-valued and: false where either is false, else null where either is null.
        And = "and", Own, false;
        /// Three-valued or: true where either is true, else null where either is null.
        Or = "or", Own, false;
    }
}

/// A nested list of operations that is evaluated only for the rows that reach it, and yields one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Operations in order of definition.
    pub body: Vec<(Value, Op)>,
    /// The value that the region yields; defined in the region or visible around it.
    pub result: Value,
}

/// One scalar operation. Its result's type is the type of the value that it defines.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `literal lit0`
    Literal(Lit),
    /// `param param0`: the same for every row of a run.
    Param(Param),
    /// `name v0`
    Unary(UnaryOp, Value),
    /// `name v0, v1`
    Binary(BinaryOp, Value, Value),
    /// `if v0 { .. yield v1 } else { .. yield v2 }`: a region is evaluated only for its rows, so an error in the other branch is not
    /// raised. A null condition counts as false.
    If(Value, Box<Region>, Box<Region>),
    /// `in v0 [lit0, lit1]`: SQL's IN over literals. The list holds no null literals (lowering adds the three-valued rule for those).
    /// Strict in its operand.
    In(Value, Vec<Lit>),
    /// `like v0 lit0`: SQL's LIKE with `%`, `_` and the escape `\`. Strict.
    Like(Value, Lit),
    /// `ilike v0 lit0`: LIKE without regard to small and capital letters. Strict.
    Ilike(Value, Lit),
    /// `call upper(v0)`: a function of its table. Strict in all operands.
    Call(Function, Vec<Value>),
    /// `substr v0, v1, v2`: characters from position `v1` (1-based, may lie before the start), `v2` many (int64); `substr v0, v1` to the end.
    /// A negative count fails with `NegativeSubstringLength`. Strict.
    Substr(Value, Value, Option<Value>),
    /// `entry input0 3, v0`: the text that has this number in the dictionary of a column of an input, whichever source the stage has itself; of a number
    /// beyond the last, the last text. Strict.
    Entry(Input, u32, Value),
    /// `opaque0(v0, v1)`: evaluated by the host, for the rows that reach it. Only the interpreter can.
    Opaque(Opaque, Vec<Value>),
}

impl Op {
    /// Calls `f` with every operand, of nested regions too (values that they define themselves included).
    pub fn for_each_operand(&self, f: &mut impl FnMut(Value)) {
        match self {
            Op::Literal(_) | Op::Param(_) => {}
            Op::Unary(_, a) | Op::In(a, _) | Op::Like(a, _) | Op::Ilike(a, _) | Op::Entry(_, _, a) => f(*a),
            Op::Binary(_, a, b) => {
                f(*a);
                f(*b);
            }
            Op::If(cond, then, otherwise) => {
                f(*cond);
                for region in [then, otherwise] {
                    for (_, op) in &region.body {
                        op.for_each_operand(f);
                    }
                    f(region.result);
                }
            }
            Op::Substr(a, start, count) => {
                f(*a);
                f(*start);
                if let Some(count) = count {
                    f(*count);
                }
            }
            Op::Opaque(_, args) | Op::Call(_, args) => args.iter().for_each(|v| f(*v)),
        }
    }

    /// Whether evaluating the operation can raise an error, nested regions included.
    pub fn can_fail(&self) -> bool {
        match self {
            Op::Literal(_) | Op::Param(_) | Op::In(..) | Op::Like(..) | Op::Ilike(..) | Op::Entry(..) => false,
            Op::Call(function, _) => function.can_fail(),
            Op::Unary(op, _) => op.can_fail(),
            Op::Binary(op, ..) => op.can_fail(),
            Op::Substr(_, _, count) => count.is_some(),
            Op::Opaque(..) => true,
            Op::If(_, then, otherwise) => [then, otherwise].iter().any(|region| region.body.iter().any(|(_, op)| op.can_fail())),
        }
    }

    /// Whether the operation, or one nested in it, is opaque.
    pub fn has_opaque(&self) -> bool {
        match self {
            Op::Opaque(..) => true,
            Op::If(_, then, otherwise) => [then, otherwise].iter().any(|region| region.body.iter().any(|(_, op)| op.has_opaque())),
            _ => false,
        }
    }
}
