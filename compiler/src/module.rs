//! Ownership of code: one module for each stage, freed with its last handle.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cranelift_codegen::ir::{AbiParam, ExternalName, Function, Signature, UserFuncName, types};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CodegenError, FinalizedRelocTarget};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, ModuleError};
use stagefuse_ir::abi::{BuiltinTable, StageFn};
use stagefuse_ir::{Op, Program, Stage, StmtKind};

use crate::error::{CompileError, Result};
use crate::listing::{self, Listing};
use crate::options::{OptLevel, Options};
use crate::split::{self, Part};
use crate::stage::Gen;

/// Stack for stages with deeply nested conditionals.
const DEEP_STACK: usize = 256 << 20;

/// A compiled stage. Clones share the code, which is freed with the last of them.
#[derive(Clone)]
pub struct CompiledStage(Arc<Code>);

struct Code {
    /// Present until dropped.
    module: Option<JITModule>,
    function: StageFn,
    ranges: Vec<Range<usize>>,
    bytes: usize,
    time: Duration,
    listing: Option<Listing>,
    clif: Option<String>,
    asm: Option<String>,
}

// SAFETY: the module is not touched after it was finalised, until it is freed; finalised code may run on any thread.
unsafe impl Send for Code {}
// SAFETY: as above.
unsafe impl Sync for Code {}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: this is the last handle, and whoever runs the function holds one.
            unsafe { module.free_memory() }
        }
    }
}

impl CompiledStage {
    /// The function. It may be called as long as a handle lives, with a worker of a run of the same program.
    pub fn function(&self) -> StageFn {
        self.0.function
    }

    /// How many functions it was split into; 1 where it was not.
    pub fn functions(&self) -> usize {
        self.0.ranges.len()
    }

    /// Where the machine code of each function lies, in the order of [`CompiledStage::listing`]: for profilers. It is there as long as a handle lives.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.0.ranges
    }

    /// Bytes of machine code.
    pub fn code_bytes(&self) -> usize {
        self.0.bytes
    }

    /// Time from IR to finalised code.
    pub fn compile_time(&self) -> Duration {
        self.0.time
    }

    /// The code line by line, if [`Options::dump`] was set.
    pub fn listing(&self) -> Option<&Listing> {
        self.0.listing.as_ref()
    }

    /// The Cranelift IR, if [`Options::dump`] was set.
    pub fn clif(&self) -> Option<&str> {
        self.0.clif.as_deref()
    }

    /// The assembly, if [`Options::dump`] was set.
    pub fn asm(&self) -> Option<&str> {
        self.0.asm.as_deref()
    }
}

/// Compiles one stage of a verified program.
///
/// # Errors
/// Where the stage holds something that the compiler does not speak, or comes out too large.
pub fn compile(program: &Program, stage: Stage, builtins: &BuiltinTable, options: &Options) -> Result<CompiledStage> {
    let start = Instant::now();
    if options.always_split {
        return compile_parts(program, stage, builtins, options, &split::parts(&program.stages[stage]), start);
    }
    match compile_parts(program, stage, builtins, options, &[], start) {
        Err(CompileError::CodeTooLarge { .. }) if options.split_by_operator => {
            compile_parts(program, stage, builtins, options, &split::parts(&program.stages[stage]), start)
        }
        outcome => outcome,
    }
}

/// Compiles a stage, as one function where there are no parts.
fn compile_parts(
    program: &Program,
    stage: Stage,
    builtins: &BuiltinTable,
    options: &Options,
    parts: &[Part],
    start: Instant,
) -> Result<CompiledStage> {
    let mut flags = settings::builder();
    let opt_level = match options.opt_level {
        OptLevel::None => "none",
        OptLevel::Speed => "speed",
    };
    for (name, value) in [
        ("opt_level", opt_level),
        ("enable_verifier", if options.verify { "true" } else { "false" }),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
        ("unwind_info", "false"),
    ] {
        flags.set(name, value).map_err(backend)?;
    }
    let isa = cranelift_native::builder().map_err(backend)?.finish(settings::Flags::new(flags)).map_err(backend)?;
    let mut builder = JITBuilder::with_isa(isa, cranelift_module::default_libcall_names());
    // The builtins are the only symbols: a function that refers to anything else is refused before it is linked, so that the
    // dynamic linker, which Cranelift would ask for unknown names, is never asked.
    for builtin in stagefuse_ir::abi::Builtin::ALL {
        builder.symbol(builtin.name(), builtins.address(*builtin));
    }
    let mut module = JITModule::new(builder);
    // Cranelift panics on what it cannot lower; a query must not.
    let built = catch_unwind(AssertUnwindSafe(|| on_stack(program, stage, || build(&mut module, program, stage, options, parts))));
    match built.unwrap_or_else(|panic| Err(panicked(&*panic))) {
        Ok((function, built)) => {
            let Built { bytes, ranges, listing } = built;
            let time = start.elapsed();
            let comments = options.comments.then_some((program, stage));
            let clif = listing.as_ref().map(|listing| listing::text(&listing.clif, comments));
            let asm = listing.as_ref().map(|listing| listing::text(&listing.asm, comments));
            Ok(CompiledStage(Arc::new(Code { module: Some(module), function, ranges, bytes, time, listing, clif, asm })))
        }
        Err(error) => {
            // SAFETY: nothing of this module has been handed out.
            unsafe { module.free_memory() };
            Err(error)
        }
    }
}

/// What functions came out as.
struct Built {
    bytes: usize,
    /// Where the functions lie; until they are linked, from 0 on.
    ranges: Vec<Range<usize>>,
    listing: Option<Listing>,
}

fn build(module: &mut JITModule, program: &Program, stage: Stage, options: &Options, parts: &[Part]) -> Result<(StageFn, Built)> {
    let mut signature = Signature::new(module.isa().default_call_conv());
    signature.params.extend([AbiParam::new(types::I64), AbiParam::new(types::I64)]);
    signature.returns.push(AbiParam::new(types::I32));
    let name = format!("{}::{stage} {}", options.label, program.stages[stage].name.replace(char::is_control, " "));
    let id = module.declare_function(&name, Linkage::Export, &signature).map_err(backend)?;
    let mut parts = parts.to_vec();
    for (number, part) in parts.iter_mut().enumerate().skip(1) {
        part.function = Some(module.declare_function(&format!("{name} part {number}"), Linkage::Local, &signature).map_err(backend)?);
    }
    let mut built = Built { bytes: 0, ranges: vec![], listing: options.dump.then(Listing::default) };
    let ids: Vec<FuncId> = (0..parts.len().max(1)).map(|number| parts.get(number).and_then(|part| part.function).unwrap_or(id)).collect();
    for (number, id) in ids.iter().copied().enumerate() {
        define(module, program, stage, options, &parts, (number, id), &signature, &mut built)?;
    }
    module.finalize_definitions().map_err(backend)?;
    for (id, range) in ids.into_iter().zip(&mut built.ranges) {
        let address = module.get_finalized_function(id) as usize;
        *range = address..address + range.end;
    }
    let address = module.get_finalized_function(id);
    // SAFETY: the function was declared with the signature of a `StageFn`.
    let function = unsafe { std::mem::transmute::<*const u8, StageFn>(address) };
    Ok((function, built))
}

/// Generates one function of a stage and compiles it.
#[expect(clippy::too_many_arguments, reason = "what all functions of a stage share, and the one that is made")]
fn define(
    module: &mut JITModule,
    program: &Program,
    stage: Stage,
    options: &Options,
    parts: &[Part],
    (number, id): (usize, FuncId),
    signature: &Signature,
    built: &mut Built,
) -> Result<()> {
    let mut context = module.make_context();
    context.func.signature = signature.clone();
    context.func.name = UserFuncName::user(0, id.as_u32());
    let mut frontend = FunctionBuilderContext::new();
    let places = {
        let b = FunctionBuilder::new(&mut context.func, &mut frontend);
        let mut generator = Gen::new(program, stage, module, b, parts);
        generator.hash_mask = options.hash_mask;
        generator.cached_bytes = options.cached_bytes;
        if number == 0 { generator.run()? } else { generator.run_part(number)? }
    };
    let origins = built.listing.as_mut().map(|listing| {
        let names: Vec<String> = context.func.dfg.ext_funcs.values().map(|callee| name_of(module, &context.func, &callee.name)).collect();
        listing.add_clif(&mut context.func, &places, &names)
    });
    let origins = origins.unwrap_or_default();
    module.define_function(id, &mut context).map_err(|error| match error {
        ModuleError::Compilation(CodegenError::CodeTooLarge | CodegenError::ImplLimitExceeded) => {
            CompileError::CodeTooLarge { bytes: usize::MAX, limit: options.max_code_bytes }
        }
        ModuleError::Compilation(CodegenError::Verifier(errors)) => CompileError::Backend(errors.to_string()),
        other => backend(other),
    })?;
    let code = context.compiled_code().ok_or_else(|| CompileError::Backend("no code".into()))?;
    let bytes = code.code_buffer().len();
    let foreign = |target: &FinalizedRelocTarget| matches!(target, FinalizedRelocTarget::ExternalName(ExternalName::LibCall(_)));
    if code.buffer.relocs().iter().any(|reloc| foreign(&reloc.target)) {
        return Err(CompileError::Unsupported("an instruction that this processor does not have".into()));
    }
    if bytes > options.max_code_bytes {
        return Err(CompileError::CodeTooLarge { bytes, limit: options.max_code_bytes });
    }
    built.bytes += bytes;
    built.ranges.push(0..bytes);
    if let Some(listing) = &mut built.listing {
        let callees = code.buffer.relocs().iter().filter_map(|reloc| match &reloc.target {
            FinalizedRelocTarget::ExternalName(name) => Some((reloc.offset, name_of(module, &context.func, name))),
            _ => None,
        });
        listing.add_asm(module.isa(), code, &origins, &callees.collect());
    }
    Ok(())
}

/// What a function that is called is named; nothing where it has no name.
fn name_of(module: &JITModule, function: &Function, name: &ExternalName) -> String {
    let ExternalName::User(name) = name else { return String::new() };
    let id = FuncId::from_u32(function.params.user_named_funcs()[*name].index);
    module.declarations().get_function_decl(id).linkage_name(id).into_owned()
}

/// Nested conditionals are generated recursively: deep ones get a stack of their own.
fn on_stack<T: Send>(program: &Program, stage: Stage, body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let nested = program.stages[stage].body.iter().map(|stmt| match &stmt.kind {
        StmtKind::Let(_, op) => depth(op),
        _ => 0,
    });
    if nested.max().unwrap_or(0) < 32 {
        return body();
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(DEEP_STACK).spawn_scoped(scope, body).map_err(backend)?;
        thread.join().unwrap_or_else(|panic| Err(panicked(&*panic)))
    })
}

/// How deep conditionals are nested, without recursion.
fn depth(op: &Op) -> usize {
    let mut deepest = 0;
    let mut open = vec![(op, 0)];
    while let Some((op, depth)) = open.pop() {
        deepest = deepest.max(depth);
        if let Op::If(_, then, otherwise) = op {
            open.extend(then.body.iter().chain(&otherwise.body).map(|(_, op)| (op, depth + 1)));
        }
    }
    deepest
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> CompileError {
    let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    CompileError::Backend(format!("the code generator panicked: {}", message.unwrap_or("without a message")))
}

fn backend(error: impl std::fmt::Display) -> CompileError {
    CompileError::Backend(error.to_string())
}
