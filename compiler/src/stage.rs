//! The skeleton of a stage's function, and what its parts share.

use std::collections::HashMap;
use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, FuncRef, InstBuilder, MemFlagsData, Signature, SourceLoc, StackSlotData, StackSlotKind, Type as ClifType,
    Value as ClifValue, types,
};
use cranelift_frontend::FunctionBuilder;
use cranelift_jit::JITModule;
use cranelift_module::{FuncId, Linkage, Module};
use stagefuse_ir::abi::{AbiType, Builtin, ErrorCode, HASH_ALL, Morsel, Status, WorkerHead};
use stagefuse_ir::verifier::Place;
use stagefuse_ir::{EntityRef, Program, Source, Stage, StageDecl, StmtKind, Type, Value};

use crate::error::{CompileError, Result};
use crate::sink::Held;
use crate::source::{Column, Origin};
use crate::split::Part;
use crate::value::Val;

/// Generates one function.
pub(crate) struct Gen<'a> {
    pub(crate) program: &'a Program,
    pub(crate) stage: Stage,
    pub(crate) decl: &'a StageDecl,
    pub(crate) b: FunctionBuilder<'a>,
    module: &'a mut JITModule,
    imports: HashMap<Builtin, FuncRef>,
    /// The functions that the stage is split into; none where it is one.
    pub(crate) parts: Vec<Part>,
    pub(crate) worker: ClifValue,
    pub(crate) columns: Vec<Option<Column>>,
    /// Where each value that has not been computed yet can be loaded from.
    pub(crate) origins: HashMap<Value, Origin>,
    /// Values computed so far, by scope: what a scope computes is visible in it and in those it encloses.
    scopes: Vec<HashMap<Value, Val>>,
    /// The current row: its number, or the address of its entry.
    pub(crate) row: ClifValue,
    /// Where a row that is dropped goes.
    pub(crate) next: Block,
    /// Raises an error; takes its code and the value's number.
    error: Block,
    /// Returns a status without raising.
    exit: Block,
    /// By accumulator of the sink's only group, whether it is held in registers; empty where none is.
    pub(crate) held: Vec<Option<Held>>,
    /// What instructions come from, by number.
    places: Vec<Place>,
    numbers: HashMap<Place, u32>,
    /// What the next instructions come from.
    place: Place,
    /// The bits of hashes that count.
    pub(crate) hash_mask: u64,
    /// Bytes of a table that the cache holds.
    pub(crate) cached_bytes: usize,
}

impl<'a> Gen<'a> {
    pub(crate) fn new(program: &'a Program, stage: Stage, module: &'a mut JITModule, b: FunctionBuilder<'a>, parts: &[Part]) -> Self {
        let none = ClifValue::from_u32(0);
        let block = Block::from_u32(0);
        Gen {
            program,
            stage,
            decl: &program.stages[stage],
            b,
            module,
            imports: HashMap::new(),
            parts: parts.to_vec(),
            worker: none,
            columns: vec![],
            origins: HashMap::new(),
            scopes: vec![HashMap::new()],
            row: none,
            next: block,
            error: block,
            exit: block,
            held: vec![],
            places: vec![],
            numbers: HashMap::new(),
            place: Place::Source,
            hash_mask: HASH_ALL,
            cached_bytes: 0,
        }
    }

    /// Generates the stage's function, or the first of its parts; yields what instructions come from.
    pub(crate) fn run(mut self) -> Result<Vec<Place>> {
        let entry = self.begin();
        let morsel = self.b.block_params(entry)[1];
        self.prepare_source(morsel);
        self.hold_accumulators();
        let rows = self.load(types::I64, morsel, offset_of!(Morsel, rows));
        match (self.selection(), self.touches()) {
            (Some(selection), _) => self.selected_rows(rows, &selection)?,
            (None, Some(touches)) => self.touched_rows(rows, &touches)?,
            (None, None) => self.all_rows(rows, morsel)?,
        }
        self.finish()
    }

    /// Begins a function of two parameters, the first of which is the worker; yields its entry block.
    pub(crate) fn begin(&mut self) -> Block {
        let entry = self.b.create_block();
        self.b.append_block_params_for_function_params(entry);
        self.b.switch_to_block(entry);
        self.worker = self.b.block_params(entry)[0];
        self.at(Place::Source);
        self.error = self.b.create_block();
        self.exit = self.b.create_block();
        self.b.append_block_param(self.error, types::I32);
        self.b.append_block_param(self.error, types::I32);
        self.b.append_block_param(self.exit, types::I32);
        self.b.set_cold_block(self.error);
        entry
    }

    /// Ends the function: what its loops branch to when they are done has been generated; now the ways out.
    pub(crate) fn finish(mut self) -> Result<Vec<Place>> {
        self.at(Place::Source);
        self.b.switch_to_block(self.error);
        let params = [self.b.block_params(self.error)[0], self.b.block_params(self.error)[1]];
        self.call(Builtin::raise, &[self.worker, params[0], params[1]])?;
        let failed = self.b.ins().iconst(types::I32, i64::from(Status::Error as i32));
        self.b.ins().return_(&[failed]);
        self.b.switch_to_block(self.exit);
        let status = self.b.block_params(self.exit)[0];
        self.store_held();
        self.b.ins().return_(&[status]);
        self.b.seal_all_blocks();
        let config = self.module.target_config();
        self.b.finalize(config);
        Ok(self.places)
    }

    /// The loop over every row of the morsel.
    fn all_rows(&mut self, rows: ClifValue, morsel: ClifValue) -> Result<()> {
        let (head, body, next, done) = (self.block(), self.block(), self.block(), self.block());
        let i = self.b.append_block_param(head, types::I64);
        let zero = self.iconst(types::I64, 0);
        let entries = self.load(types::I64, morsel, offset_of!(Morsel, entries));
        self.jump(head, &[zero]);
        self.b.switch_to_block(head);
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, i, rows);
        self.b.ins().brif(more, body, &[], done, &[]);
        self.b.switch_to_block(body);
        self.row = match self.decl.source {
            Source::Input { .. } => i,
            _ => {
                let stride = i64::from(self.source_layout().expect("a table has a layout").stride);
                let offset = self.b.ins().imul_imm_s(i, stride);
                self.b.ins().iadd(entries, offset)
            }
        };
        self.next = next;
        self.filter_matched()?;
        self.statements(0)?;
        self.b.switch_to_block(next);
        let following = self.b.ins().iadd_imm_s(i, 1);
        self.jump(head, &[following]);
        self.b.switch_to_block(done);
        self.leave(Status::Ok);
        Ok(())
    }

    /// Generates the statements from `first` on, then the sink, or the call of the part that begins behind them. Ends every path with a
    /// branch.
    pub(crate) fn statements(&mut self, first: usize) -> Result<()> {
        let decl = self.decl;
        let part = self.parts.iter().position(|part| part.statements.contains(&first) || part.statements.start == first);
        let following = part.and_then(|part| self.parts.get(part + 1)).cloned();
        let end = following.as_ref().map_or(decl.body.len(), |following| following.statements.start);
        for (number, stmt) in decl.body.iter().enumerate().take(end).skip(first) {
            self.at(Place::Stmt(number));
            match &stmt.kind {
                StmtKind::Let(value, op) => {
                    let val = self.op(*value, op)?;
                    self.define(*value, val);
                }
                StmtKind::Filter(value) => self.filter(*value)?,
                StmtKind::Probe(probe) => self.probe(probe)?,
                StmtKind::Limit(limit) => self.limit(*limit)?,
                StmtKind::Expand(expand) => self.expand(expand),
            }
        }
        if let Some(following) = following {
            self.at(Place::Stmt(end.min(decl.body.len().saturating_sub(1))));
            return self.call_part(&following);
        }
        self.at(Place::Sink);
        self.sink()
    }

    // Values.

    pub(crate) fn define(&mut self, value: Value, val: Val) {
        self.scopes.last_mut().expect("there is a scope").insert(value, val);
    }

    /// Whether the value has been computed where that is visible.
    pub(crate) fn is_computed(&self, value: Value) -> bool {
        self.scopes.iter().any(|scope| scope.contains_key(&value))
    }

    /// The value in registers, loaded now if that has not been done where it is visible.
    pub(crate) fn get(&mut self, value: Value) -> Result<Val> {
        if let Some(val) = self.scopes.iter().rev().find_map(|scope| scope.get(&value)) {
            return Ok(*val);
        }
        let origin = self.origins.get(&value).copied();
        let origin = origin.ok_or_else(|| CompileError::Backend(format!("{value} is used before it is defined")))?;
        let val = self.load_origin(origin, self.ty(value))?;
        self.define(value, val);
        Ok(val)
    }

    /// As [`Self::get`], text with its second word turned into an address.
    pub(crate) fn get_text(&mut self, value: Value) -> Result<Val> {
        let val = self.get(value)?;
        if val.raw.is_none() {
            return Ok(val);
        }
        let val = self.resolve(val);
        self.define(value, val);
        Ok(val)
    }

    pub(crate) fn ty(&self, value: Value) -> Type {
        self.decl.values[value]
    }

    pub(crate) fn enter_scope(&mut self) {
        self.scopes.push(HashMap::new());
    }

    pub(crate) fn leave_scope(&mut self) {
        self.scopes.pop();
    }

    // Small pieces.

    /// Says what the next instructions come from; yields what those before came from.
    pub(crate) fn at(&mut self, place: Place) -> Place {
        let number = *self.numbers.entry(place).or_insert_with(|| {
            self.places.push(place);
            self.places.len() as u32 - 1
        });
        self.b.set_srcloc(SourceLoc::new(number));
        std::mem::replace(&mut self.place, place)
    }

    pub(crate) fn block(&mut self) -> Block {
        self.b.create_block()
    }

    pub(crate) fn jump(&mut self, block: Block, args: &[ClifValue]) {
        let args: Vec<BlockArg> = args.iter().map(|arg| BlockArg::Value(*arg)).collect();
        self.b.ins().jump(block, &args);
    }

    pub(crate) fn iconst(&mut self, ty: ClifType, value: i128) -> ClifValue {
        if ty == types::I128 {
            let lo = self.b.ins().iconst(types::I64, value as i64);
            let hi = self.b.ins().iconst(types::I64, (value >> 64) as i64);
            return self.b.ins().iconcat(lo, hi);
        }
        // Cranelift wants the bits of the type, zero-extended.
        let bits = value as u64 & (u64::MAX >> (64 - ty.bits()));
        self.b.ins().iconst(ty, bits as i64)
    }

    /// Loads from memory that is there, aligned or not.
    pub(crate) fn load(&mut self, ty: ClifType, base: ClifValue, offset: usize) -> ClifValue {
        self.b.ins().load(ty, MemFlagsData::new().with_notrap(), base, offset as i32)
    }

    /// Loads a value of a row, which does not change while the function runs. Cranelift sinks such loads to where they are used, so that
    /// few registers are taken at a time, or takes them out of the loop over a chain. The address must be good for the row
    /// whatever the branches before it tested.
    pub(crate) fn load_row(&mut self, ty: ClifType, base: ClifValue, offset: usize) -> ClifValue {
        self.b.ins().load(ty, MemFlagsData::new().with_notrap().with_readonly().with_can_move(), base, offset as i32)
    }

    /// Loads what does not change while the function runs, from an address that is good whenever the function runs: Cranelift moves such
    /// loads out of the loops.
    pub(crate) fn load_fixed(&mut self, ty: ClifType, base: ClifValue, offset: usize) -> ClifValue {
        self.b.ins().load(ty, MemFlagsData::trusted().with_readonly().with_can_move(), base, offset as i32)
    }

    pub(crate) fn store(&mut self, value: ClifValue, base: ClifValue, offset: usize) {
        self.b.ins().store(MemFlagsData::new().with_notrap(), value, base, offset as i32);
    }

    /// A pointer of the worker's head.
    pub(crate) fn head(&mut self, offset: usize) -> ClifValue {
        self.load_fixed(types::I64, self.worker, offset)
    }

    /// An element of a table of pointers in the worker's head.
    pub(crate) fn head_element(&mut self, offset: usize, index: usize) -> ClifValue {
        let table = self.head(offset);
        self.load_fixed(types::I64, table, index * 8)
    }

    pub(crate) fn matcher(&mut self, value: Value) -> ClifValue {
        self.head_element(offset_of!(WorkerHead, matchers), value.index())
    }

    pub(crate) fn stack(&mut self, bytes: u32) -> ClifValue {
        let slot = self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 3));
        self.b.ins().stack_addr(types::I64, slot, 0)
    }

    pub(crate) fn call(&mut self, builtin: Builtin, args: &[ClifValue]) -> Result<ClifValue> {
        let function = match self.imports.get(&builtin) {
            Some(function) => *function,
            None => {
                let ty = |ty: AbiType| match ty {
                    AbiType::I32 => types::I32,
                    AbiType::I64 | AbiType::Ptr => types::I64,
                    AbiType::F64 => types::F64,
                };
                let mut signature = Signature::new(self.module.isa().default_call_conv());
                signature.params.extend(builtin.params().iter().map(|param| AbiParam::new(ty(*param))));
                signature.returns.push(AbiParam::new(ty(builtin.result())));
                let id = self.module.declare_function(builtin.name(), Linkage::Import, &signature);
                let id = id.map_err(|error| CompileError::Backend(error.to_string()))?;
                let function = self.module.declare_func_in_func(id, self.b.func);
                self.imports.insert(builtin, function);
                function
            }
        };
        let call = self.b.ins().call(function, args);
        Ok(self.b.inst_results(call)[0])
    }

    /// Calls a function of the same module.
    pub(crate) fn call_function(&mut self, function: FuncId, args: &[ClifValue]) -> ClifValue {
        let function = self.module.declare_func_in_func(function, self.b.func);
        let call = self.b.ins().call(function, args);
        self.b.inst_results(call)[0]
    }

    /// Goes on at a block, or returns a status.
    pub(crate) fn leave_unless(&mut self, going: ClifValue, status: ClifValue, next: Block) {
        self.b.ins().brif(going, next, &[], self.exit, &[BlockArg::Value(status)]);
    }

    /// Raises `code` where `condition` (a byte) holds for a row whose operands are not null.
    pub(crate) fn fail_if(&mut self, condition: ClifValue, valid: Option<ClifValue>, code: ErrorCode, value: Value) {
        let condition = match valid {
            Some(valid) => self.b.ins().band(condition, valid),
            None => condition,
        };
        let good = self.block();
        let code = self.iconst(types::I32, i128::from(code as i32));
        let number = self.iconst(types::I32, value.index() as i128);
        self.b.ins().brif(condition, self.error, &[BlockArg::Value(code), BlockArg::Value(number)], good, &[]);
        self.b.switch_to_block(good);
    }

    /// Goes on where `ok` (any integer) is not 0, else returns that an error waits.
    pub(crate) fn fail_unless(&mut self, ok: ClifValue) {
        let good = self.block();
        let failed = self.iconst(types::I32, i128::from(Status::Error as i32));
        self.b.ins().brif(ok, good, &[], self.exit, &[BlockArg::Value(failed)]);
        self.b.switch_to_block(good);
    }

    /// Ends the function.
    pub(crate) fn leave(&mut self, status: Status) {
        let status = self.iconst(types::I32, i128::from(status as i32));
        self.jump(self.exit, &[status]);
    }

    /// Both valid; absent where neither can be null.
    pub(crate) fn both(&mut self, a: Option<ClifValue>, b: Option<ClifValue>) -> Option<ClifValue> {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.b.ins().band(a, b)),
            (a, b) => a.or(b),
        }
    }

    /// 1 - x, for a byte that is 0 or 1.
    pub(crate) fn invert(&mut self, x: ClifValue) -> ClifValue {
        self.b.ins().bxor_imm_s(x, 1)
    }

    /// The validity as a byte, 1 where there is none.
    pub(crate) fn validity(&mut self, valid: Option<ClifValue>) -> ClifValue {
        match valid {
            Some(valid) => valid,
            None => self.iconst(types::I8, 1),
        }
    }
}
