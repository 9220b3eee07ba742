//! What is prepared once for each stage of a run.

use stagefuse_ir::layout::{Field, RowLayout};
use stagefuse_ir::{EntityRef, Program, Sink, Source, Stage, StageDecl, Stored, Type, Value};

/// A stage, ready to be interpreted.
pub(crate) struct StagePlan {
    pub(crate) decl: StageDecl,
    /// By value: the field of a table's row that it is, where it is one.
    pub(crate) fields: Vec<Option<Field>>,
    /// By value: the column of the morsel that it is, where it is one.
    pub(crate) columns: Vec<Option<usize>>,
    /// By column of the morsel: how it lies there.
    pub(crate) stored: Vec<Stored>,
    /// Whether references to rows of the host's arrays are stored.
    pub(crate) keeps_arrays: bool,
    /// Bytes between the source's rows, where it is a table.
    pub(crate) source_stride: usize,
    /// The byte that tells whether a row of the source, a join table, was matched.
    pub(crate) source_matched: Option<Field>,
}

impl StagePlan {
    /// Prepares a stage.
    pub(crate) fn new(program: &Program, stage: Stage) -> Self {
        let decl = program.stages[stage].clone();
        let count = decl.values.len();
        let mut plan = StagePlan {
            decl,
            fields: vec![None; count],
            columns: vec![None; count],
            stored: vec![],
            keeps_arrays: false,
            source_stride: 0,
            source_matched: None,
        };
        let stored: &[Type] = match plan.decl.sink {
            Sink::Build { join, .. } => &program.joins[join].payload,
            Sink::Sort { sort, .. } => &program.sorts[sort].payload,
            _ => &[],
        };
        plan.keeps_arrays = stored.iter().any(|ty| ty.sql.is_host());
        let source = match plan.decl.source {
            Source::Input { .. } => None,
            Source::Groups(groups) => Some(RowLayout::groups(&program.groups[groups])),
            Source::Join(join, _) => Some(RowLayout::join(&program.joins[join])),
            Source::Sort(sort) => Some(RowLayout::sort(&program.sorts[sort])),
        };
        if let Source::Input { input, .. } = plan.decl.source {
            plan.stored = program.inputs[input].stored.clone();
        }
        let params = plan.decl.params.clone();
        match source {
            None => params.iter().enumerate().for_each(|(column, value)| plan.columns[value.index()] = Some(column)),
            Some(layout) => {
                plan.source_stride = layout.stride as usize;
                plan.source_matched = layout.matched.map(|offset| Field { ty: Type::boolean(false), offset, valid: None });
                let fields = layout.fields.iter().copied().chain(plan.source_matched);
                plan.set_fields(fields, params.iter().map(|value| Some(*value)));
            }
        }
        let probes: Vec<_> = plan.decl.probes().map(|probe| (probe.join, probe.columns.clone())).collect();
        for (join, columns) in probes {
            plan.set_fields(RowLayout::join(&program.joins[join]).fields.into_iter(), columns.into_iter());
        }
        plan
    }

    fn set_fields(&mut self, fields: impl Iterator<Item = Field>, values: impl Iterator<Item = Option<Value>>) {
        for (field, value) in fields.zip(values) {
            if let Some(value) = value {
                self.fields[value.index()] = Some(field);
            }
        }
    }

    /// The type of a value.
    pub(crate) fn ty(&self, value: Value) -> Type {
        self.decl.values[value]
    }
}
