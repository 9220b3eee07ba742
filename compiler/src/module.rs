//! Ownership of code: one module for each stage, freed with its last handle.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cranelift_codegen::ir::{AbiParam, Signature, UserFuncName, types};
use cranelift_codegen::isa::CallConv;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module};
use stagefuse_ir::abi::{BuiltinTable, StageFn};
use stagefuse_ir::{Program, Stage};

use crate::dump;
use crate::error::{CompileError, Result};
use crate::options::{OptLevel, Options};
use crate::stage::Gen;

/// A compiled stage. Clones share the code, which is freed with the last of them.
#[derive(Clone)]
pub struct CompiledStage(Arc<Code>);

struct Code {
    /// Present until dropped.
    module: Option<JITModule>,
    function: StageFn,
    bytes: usize,
    time: Duration,
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

    /// Bytes of machine code.
    pub fn code_bytes(&self) -> usize {
        self.0.bytes
    }

    /// Time from IR to finalised code.
    pub fn compile_time(&self) -> Duration {
        self.0.time
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
    // The builtins are the only symbols. A lookup that ends the search keeps Cranelift from asking the dynamic linker.
    builder.symbol_lookup_fn(Box::new(|name| {
        tracing::error!(name, "generated code refers to an unknown symbol");
        None
    }));
    for builtin in stagefuse_ir::abi::Builtin::ALL {
        builder.symbol(builtin.name(), builtins.address(*builtin));
    }
    let mut module = JITModule::new(builder);
    match build(&mut module, program, stage, options) {
        Ok((function, bytes, clif, asm)) => {
            let time = start.elapsed();
            Ok(CompiledStage(Arc::new(Code { module: Some(module), function, bytes, time, clif, asm })))
        }
        Err(error) => {
            // SAFETY: nothing of this module has been handed out.
            unsafe { module.free_memory() };
            Err(error)
        }
    }
}

fn build(
    module: &mut JITModule,
    program: &Program,
    stage: Stage,
    options: &Options,
) -> Result<(StageFn, usize, Option<String>, Option<String>)> {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(types::I64), AbiParam::new(types::I64)]);
    signature.returns.push(AbiParam::new(types::I32));
    let id = module.declare_function("stage", Linkage::Export, &signature).map_err(backend)?;
    let mut context = module.make_context();
    context.func.signature = signature;
    context.func.name = UserFuncName::user(0, id.as_u32());
    context.set_disasm(options.dump);
    let mut frontend = FunctionBuilderContext::new();
    let origins = {
        let b = FunctionBuilder::new(&mut context.func, &mut frontend);
        Gen::new(program, stage, module, b, HashMap::new()).run()?
    };
    let clif = options.dump.then(|| dump::clif(&context.func, options.comments.then_some(&origins)));
    module.define_function(id, &mut context).map_err(backend)?;
    let code = context.compiled_code().ok_or_else(|| CompileError::Backend("no code".into()))?;
    let bytes = code.code_buffer().len();
    let asm = code.vcode.clone();
    if bytes > options.max_code_bytes {
        return Err(CompileError::CodeTooLarge { bytes, limit: options.max_code_bytes });
    }
    module.finalize_definitions().map_err(backend)?;
    let address = module.get_finalized_function(id);
    // SAFETY: the function was declared with the signature of a `StageFn`.
    let function = unsafe { std::mem::transmute::<*const u8, StageFn>(address) };
    Ok((function, bytes, clif, asm))
}

fn backend(error: impl std::fmt::Display) -> CompileError {
    CompileError::Backend(error.to_string())
}
