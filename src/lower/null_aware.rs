//! `NOT IN`: anti joins that are aware of nulls.
//!
//! A row of the left side stays if its key equals none of the right side's. Where a null is among those, none stays; where there is no row at all, every row
//! does; else those whose key is not null. What the right side holds is counted by the stages that mark matches, and the rows that nothing matched look at
//! the counts: they are the only row of a join table.

use stagefuse_ir::builder::StageBuilder;
use stagefuse_ir::{
    AccDecl, AccOp, BinaryOp, Datum, GroupsDecl, JoinDecl, Op, Probe, ProbeKind, Sink, Source, SqlType, Type, UnaryOp, Value,
};

use super::join::{Join, Table};
use super::{Branch, Lowering, Pipe, Result, declined};

const COUNT: Type = Type::new(SqlType::Int64, false);

impl Lowering {
    /// Marks what the right side matches in a table, and keeps of `rows`, which are those without a match, what `NOT IN` keeps.
    pub(super) fn keep_not_in(&mut self, join: &Join<'_>, table: &Table, right: Pipe, rows: &mut Branch) -> Result<()> {
        let [(_, key)] = join.on.as_slice() else { return declined("a null-aware join on several keys") };
        let accs = [AccOp::CountRows, AccOp::Count].map(|op| AccDecl { op, ty: COUNT });
        let groups = self.p.groups(GroupsDecl::new(vec![], accs.to_vec()));
        for mut branch in right.branches {
            branch.s.note(join.note.as_str());
            let key = self.expr(&mut branch.s, &branch.columns, &join.right.schema(), key)?;
            let mut residual =
                |lowering: &mut Lowering, branch: &mut Branch, left: &[Option<Value>]| join.condition(lowering, branch, left);
            let (probe, _) = self.probe_of(&mut branch, table, ProbeKind::Mark, true, vec![key], &mut residual)?;
            branch.s.probe(probe);
            self.p.stage(branch.sink(Sink::Group { groups, keys: vec![], args: vec![None, Some(key)], operands: vec![] }));
        }
        let counts = self.p.join(JoinDecl { keys: vec![], payload: vec![COUNT; 2], null_equal: false, tracked: false });
        let mut s = StageBuilder::new(format!("groups of {groups}"), Source::Groups(groups), &[COUNT; 2]);
        s.note(join.note.as_str());
        let payload = s.params().to_vec();
        self.p.stage(s.sink(Sink::Build { join: counts, keys: vec![], payload }));

        let s = &mut rows.s;
        let key = s.params()[0];
        let (all, not_null) = (s.value(COUNT), s.value(COUNT));
        let columns = vec![Some(all), Some(not_null)];
        s.probe(Probe { join: counts, kind: ProbeKind::Inner, keys: vec![], columns, mark: None, residual: None, marks_build: false });
        let truth = Type::boolean(false);
        let none = self.p.literal(COUNT, Datum::Int(0));
        let none = s.op(Op::Literal(none), COUNT);
        let is_empty = s.binary(BinaryOp::Eq, all, none, truth);
        let without_null = s.binary(BinaryOp::Eq, all, not_null, truth);
        let is_not_null = s.unary(UnaryOp::IsNotNull, key, truth);
        let differs = s.binary(BinaryOp::And, without_null, is_not_null, truth);
        let keep = s.binary(BinaryOp::Or, is_empty, differs, truth);
        s.filter(keep);
        Ok(())
    }
}
