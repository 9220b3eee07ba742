//! References to the parts of a program. Each is a `u32`; its `Display` is its name in the text form.

use cranelift_entity::entity_impl;

/// Declares one entity reference.
macro_rules! entity {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);
        entity_impl!($name, $prefix);
    };
}

entity!(
    /// An SSA value of a stage: one scalar per row (`v3`). Values are numbered per stage.
    Value, "v"
);
entity!(
    /// A stage of a program (`s1`).
    Stage, "s"
);
entity!(
    /// An input of a program (`input0`): a child of the node that the program replaces.
    Input, "input"
);
entity!(
    /// A literal of a program (`lit0`). Literals are operands, so that two programs that differ only in them have one shape.
    Lit, "lit"
);
entity!(
    /// A parameter of a program (`param0`): a value that the host knows only when a run starts.
    Param, "param"
);
entity!(
    /// An expression that the IR has no operation for (`opaque0`); the host evaluates it.
    Opaque, "opaque"
);
entity!(
    /// An aggregate function that the host computes (`aggregate0`).
    Aggregate, "aggregate"
);
entity!(
    /// A join table (`join0`): the state that a join's build side leaves behind.
    Join, "join"
);
entity!(
    /// A group table (`groups0`): the state that an aggregation leaves behind.
    Groups, "groups"
);
entity!(
    /// A type that only the host knows (`host0`).
    HostType, "host"
);
entity!(
    /// Rows to be put in order (`sort0`): the state that a sort or a top-k leaves behind.
    Sort, "sort"
);
entity!(
    /// A row counter shared by all workers of a stage (`limit0`).
    Limit, "limit"
);
