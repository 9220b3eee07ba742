//! The laws of the IR, and the verifier that checks them.
//!
//! Both engines rely on these laws; neither checks them again.
//!
//! 1. **Declared.** Every reference to an input, literal, parameter, opaque expression, table or row counter is to one that the program declares.
//! 2. **Well-formed types.** A type that only the host knows is declared. A decimal has 1 to 38 digits, and at most 38 of them behind or zeros before the point. A type's representation
//!    is the default of its SQL type; a decimal's may be `i64` as well. A parameter's is the default.
//! 3. **Literals.** A literal's value is of its type and fits it: integers their width, decimals their precision. Its type is nullable exactly if
//!    it is null.
//! 4. **Single definition.** A value is defined once in its stage.
//! 5. **Definition before use.** A value is used only where it is visible: after its definition, in the same region or in one within it.
//!    Columns of a probe are visible in its residual condition, and after it only if its kind is `inner` or `outer`.
//! 6. **Types of operations.** Operands and result have the types that the operation's documentation states. In detail:
//!    - "Same" types are the same SQL type, or decimals of the same scale.
//!    - `not`, `is_true`, `and`, `or`: booleans. `is_null`, `is_not_null`: anything to boolean.
//!    - `neg`, `abs`: an integer, float or decimal to the same. `neg_checked`: not of floats.
//!    - `add`, `sub`: integers, floats or decimals, operands and result the same; `mul`: decimals' scales add up. `_checked`: not of floats.
//!    - `div`: as `mul`, decimals' scales subtract. `rem`: as `add`. `bit_*`: integers of one type.
//!    - Of these, `neg`, `abs`, `add`, `sub`, `mul` and their checked forms yield a decimal in `i64` only from operands in `i64`; a result in
//!      `i128` may have operands in either. `div`, `rem`, `convert` and `cast` take and yield any representation.
//!    - Comparisons and `distinct`, `not_distinct`: operands the same (representations may differ) and not of a host type, to boolean.
//!    - `convert`: any type to itself, integer to an integer type that holds all its values, boolean to integer, integer or decimal or float to float,
//!      integer to decimal of scale 0 or more, decimal to decimal of the same scale, `date32` to and from `int32`.
//!    - `cast`: integer, float or decimal to integer or decimal.
//!    - `assume_valid`: the very type of its operand, but not nullable.
//!    - `year`, `month`, `day`: `date32` to `int32`. `char_length`: `utf8` to `int32`.
//!    - `param`: the declared SQL type and representation.
//!    - `literal`: the literal's SQL type; `i64` only if the value fits. `in`: literals that are not null, of the operand's SQL type; to boolean.
//!      `like`: `utf8` and a `utf8` literal that is not null, to boolean. `substr`: `utf8`, `int64`, `int64` to `utf8`.
//!    - `if`: a boolean; both regions yield the result's SQL type in its representation.
//!    - Opaque expressions: operands and result have the declared number, SQL types and representations.
//! 7. **Nullability.** A result is nullable if the operation can yield null: an operand of a strict operation, or of `and` or `or`, is nullable;
//!    a region of an `if` yields a nullable value; a literal, a parameter or an opaque result is. (It may be nullable without need.) An operand that is nullable does
//!    not go where an opaque expression declares that none is.
//! 8. **Source columns.** A stage has one parameter for each column of its source, of its SQL type and representation, nullable where the column is.
//!    Source `all` of a join table has one boolean more.
//! 9. **Probe keys.** A probe has a value for each key of the table, of its SQL type and representation.
//! 10. **Probe columns.** A probe has a place for each key and payload field of the table; a value there has its SQL type and representation and is
//!     nullable where the field is (a key need not be, if null keys match nothing), and always for `outer`. A boolean for the match is there
//!     exactly if the kind is `mark`.
//! 11. **Conditions.** Filters and residual conditions are booleans.
//! 12. **Build.** A stage that builds a join table has a value for each key and payload field, of its SQL type and representation, nullable
//!     only where the field is.
//! 13. **Group.** A stage that fills a group table has a value for each key as under 12, and an argument for each accumulator but `count_rows`: for
//!     `sum` of the accumulator's SQL type (or a decimal of its scale, in either representation), for all but it and `count` of its SQL type and representation.
//!     `min` and `max` are nullable if their argument is or if there are no keys.
//! 14. **Accumulators.** `count` and `count_rows` are `int64`, not nullable; `sum` is `int64`, `uint64`, `float64`, or a decimal in `i128`; `bit_or` and `bit_xor`
//!     are integers.
//! 15. **Emit.** An emitting stage has a value for each column of the output, of its SQL type, nullable only where the column is. Output columns are in the
//!     default representation.
//! 16. **Order of stages.** A stage that reads a state comes after every stage that writes it, and there is one. A stage whose source is a
//!     join table comes after every probe of it.
//! 17. **Emitting stages.** There is one, and no other stage comes after it.
//! 18. **Tracked tables.** A join table is tracked exactly if a probe marks its rows or a stage's source is its rows.
//! 19. **Marking sinks.** The probe of a marking sink is of kind `semi` and marks the table's rows.
//! 20. **Stored columns.** An input says of each column how it lies in a morsel: by offset only integers, dates and decimals, all of whose values from the
//!     base on fit the type (decimals: 64 bits) and 64 bits with sign; by dictionary only text, of one entry at least; as words only
//!     decimals of at most 18 digits.
//! 21. **Computed columns.** A computed column lies as Arrow has it, is of the type that its opaque expression declares, and takes columns before it, as the expression
//!     declares its operands; its input is read by one stage.
//! 22. **Handing over.** An input that is handed over is not pinned, lies as Arrow has it, and has one stage that hands rows to it and one, later, that reads it. A stage
//!     hands over a value for each column that is not computed, of its SQL type, nullable only where the column is; no stage hands rows to other inputs.
//! 23. **Host types.** Values of host types are not keys of tables and sorts, nor arguments of accumulators other than `count`.
//! 24. **Sort.** A sort has a key. A stage that writes it has a value for each key and payload field as under 12. One stage reads it.
//! 25. **Calls.** A call is of a declared aggregate function; its arguments, of which there is one at least, and its filter, a boolean, are operands of its table.
//!     Its result and its table's operands are in their default representations. A stage that fills the table has a value for each operand, of
//!     its SQL type, nullable only where the operand is.
//! 26. **Expansions.** An expansion defines an integer, and has one literal at least; each is of its SQL type and not null, and their numbers follow one another.
//! 27. **Groups that are always there.** A group table with keys may have some: a literal for each key, of its SQL type: an integer, or null where the key is nullable.

mod declarations;
mod ops;
mod stage;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::entities::{Stage, Value};
use crate::program::Program;

/// A law of the IR. The module's documentation states each; its number there is [`Law::number`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the module's documentation is the list of laws")]
pub enum Law {
    Declared = 1,
    Types,
    Literals,
    SingleDefinition,
    DefinitionBeforeUse,
    OperationTypes,
    Nullability,
    SourceColumns,
    ProbeKeys,
    ProbeColumns,
    Conditions,
    Build,
    Group,
    Accumulators,
    Emit,
    StageOrder,
    EmittingStages,
    Tracked,
    MarkingSinks,
    StoredColumns,
    ComputedColumns,
    HandingOver,
    HostTypes,
    Sort,
    Calls,
    Expansions,
    GroupsAlways,
}

impl Law {
    /// Number in the list of laws.
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// A part of a stage: one that breaks a law, or that code comes from.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The source or its columns.
    Source,
    /// The operation that defines this value.
    Value(Value),
    /// The statement of this number in the body.
    Stmt(usize),
    /// The sink.
    Sink,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Source => f.write_str("source"),
            Place::Value(value) => write!(f, "{value}"),
            Place::Stmt(number) => write!(f, "statement {number}"),
            Place::Sink => f.write_str("sink"),
        }
    }
}

/// A breach of a law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierError {
    /// The law.
    pub law: Law,
    /// The stage, unless it is in the declarations.
    pub stage: Option<Stage>,
    /// The part of the stage.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for VerifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(stage) = self.stage {
            write!(f, "{stage}: ")?;
        }
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{} (law {})", self.message, self.law.number())
    }
}

impl std::error::Error for VerifierError {}

/// Checks a program against the laws.
///
/// ```
/// use stagefuse_ir::{parser, verifier};
///
/// // A filter takes a boolean: law 11.
/// let program = parser::parse(
///     "program {
///        input0 \"t\" (int64)
///        output (int64)
///        s0 \"scan t\" { source input0 (v0: int64) filter v0 emit (v0) }
///      }",
/// );
/// let errors = verifier::verify(&program.expect("it can be read")).expect_err("but it breaks a law");
/// assert_eq!(errors[0].law.number(), 11);
/// ```
///
/// # Errors
/// Every breach that was found, in order of the text form.
pub fn verify(program: &Program) -> Result<(), Vec<VerifierError>> {
    let mut errors = Errors::default();
    declarations::verify(program, &mut errors);
    for (stage, decl) in program.stages.iter() {
        errors.stage = Some(stage);
        stage::verify(program, decl, &mut errors);
        declarations::verify_order(program, stage, decl, &mut errors);
    }
    if errors.found.is_empty() { Ok(()) } else { Err(errors.found) }
}

/// The breaches found so far, and where the verifier is.
#[derive(Default)]
struct Errors {
    found: Vec<VerifierError>,
    stage: Option<Stage>,
    place: Option<Place>,
}

impl Errors {
    fn push(&mut self, law: Law, message: impl Into<String>) {
        self.found.push(VerifierError { law, stage: self.stage, place: self.place, message: message.into() });
    }

    /// An error unless `holds`.
    fn check(&mut self, holds: bool, law: Law, message: impl FnOnce() -> String) {
        if !holds {
            self.push(law, message());
        }
    }
}
