//! Parts of dates.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, types};
use stagefuse_ir::{UnaryOp, Value};

use crate::error::Result;
use crate::stage::Gen;
use crate::value::Val;

/// Days from 0000-03-01 to 1970-01-01, and whole 400-year cycles ahead of them, so that every date32 becomes positive.
const EPOCH: i64 = 719_468;
const CYCLES: i64 = 15_000;
const CYCLE_DAYS: i64 = 146_097;

impl Gen<'_> {
    /// Year, month or day of a date32, without a loop or a table (Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
    pub(super) fn date_part(&mut self, op: UnaryOp, a: Value) -> Result<Val> {
        let val = self.get(a)?;
        let days = self.b.ins().sextend(types::I64, val.a);
        let z = self.b.ins().iadd_imm_s(days, EPOCH + CYCLES * CYCLE_DAYS);
        let era = self.b.ins().udiv_imm_s(z, CYCLE_DAYS);
        let start = self.b.ins().imul_imm_s(era, CYCLE_DAYS);
        let doe = self.b.ins().isub(z, start);
        let by = |this: &mut Self, n: i64| this.b.ins().udiv_imm_s(doe, n);
        let (leap4, leap100, leap400) = (by(self, 1_460), by(self, 36_524), by(self, 146_096));
        let t = self.b.ins().isub(doe, leap4);
        let t = self.b.ins().iadd(t, leap100);
        let t = self.b.ins().isub(t, leap400);
        let yoe = self.b.ins().udiv_imm_s(t, 365);
        let days = self.b.ins().imul_imm_s(yoe, 365);
        let (q4, q100) = (self.b.ins().udiv_imm_s(yoe, 4), self.b.ins().udiv_imm_s(yoe, 100));
        let doy = self.b.ins().isub(doe, days);
        let doy = self.b.ins().isub(doy, q4);
        let doy = self.b.ins().iadd(doy, q100);
        let t = self.b.ins().imul_imm_s(doy, 5);
        let t = self.b.ins().iadd_imm_s(t, 2);
        let mp = self.b.ins().udiv_imm_s(t, 153);
        // The computed year begins in March.
        let is_late = self.b.ins().icmp_imm_s(IntCC::UnsignedGreaterThanOrEqual, mp, 10);
        let result = match op {
            UnaryOp::Year => {
                let years = self.b.ins().imul_imm_s(era, 400);
                let year = self.b.ins().iadd(years, yoe);
                let late = self.b.ins().uextend(types::I64, is_late);
                let year = self.b.ins().iadd(year, late);
                self.b.ins().iadd_imm_s(year, -400 * CYCLES)
            }
            UnaryOp::Month => {
                let (early, late) = (self.b.ins().iadd_imm_s(mp, 3), self.b.ins().iadd_imm_s(mp, -9));
                self.b.ins().select(is_late, late, early)
            }
            _ => {
                let t = self.b.ins().imul_imm_s(mp, 153);
                let t = self.b.ins().iadd_imm_s(t, 2);
                let before = self.b.ins().udiv_imm_s(t, 5);
                let day = self.b.ins().isub(doy, before);
                self.b.ins().iadd_imm_s(day, 1)
            }
        };
        Ok(Val::new(self.b.ins().ireduce(types::I32, result)).with_valid(val.valid))
    }
}
