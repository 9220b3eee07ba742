//! Builtins that work on the worker: growth of tables, output, errors.

use std::panic::{AssertUnwindSafe, catch_unwind};

use stagefuse_ir::abi::{ErrorCode, Status};
use stagefuse_ir::{Function, Value};

use crate::error::Error;
use crate::functions;
use crate::worker::Worker;

/// Runs `body` on the worker; an error, or a panic, is left in it and yields `failed`.
///
/// # Safety
/// `worker` is the worker that the running stage was called with; generated code holds no reference into it.
unsafe fn guard<T>(worker: *mut u8, failed: T, body: impl FnOnce(&mut Worker) -> Result<T, Error>) -> T {
    // SAFETY: the caller's promise. A worker begins with its head, so that their addresses are the same.
    let worker = unsafe { &mut *worker.cast::<Worker>() };
    match catch_unwind(AssertUnwindSafe(|| body(worker))) {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => {
            worker.fail(error);
            failed
        }
        Err(_) => {
            worker.fail(Error::Internal("a builtin panicked".into()));
            failed
        }
    }
}

pub(super) unsafe extern "C" fn groups_insert(worker: *mut u8, groups: i32, hash: u64, key: u64, valid: i32) -> *mut u8 {
    let key = (valid != 0).then_some(key as i64);
    // SAFETY: generated code passes its worker.
    unsafe { guard(worker, std::ptr::null_mut(), |worker| worker.insert_group(groups as usize, hash, key)) }
}

pub(super) unsafe extern "C" fn join_grow(worker: *mut u8, join: i32) -> i32 {
    // SAFETY: as above.
    unsafe { guard(worker, Status::Error as i32, |worker| worker.grow_rows(join as usize).map(|()| Status::Ok as i32)) }
}

pub(super) unsafe extern "C" fn sort_grow(worker: *mut u8, sort: i32) -> i32 {
    // SAFETY: as above.
    unsafe { guard(worker, Status::Error as i32, |worker| worker.grow_sorted(sort as usize).map(|()| Status::Ok as i32)) }
}

pub(super) unsafe extern "C" fn emit_flush(worker: *mut u8) -> i32 {
    // SAFETY: as above.
    unsafe { guard(worker, Status::Error as i32, |worker| worker.flush().map(|()| Status::Ok as i32)) }
}

pub(super) unsafe extern "C" fn operands_flush(worker: *mut u8, groups: i32) -> i32 {
    // SAFETY: as above.
    unsafe { guard(worker, Status::Error as i32, |worker| worker.flush_operands(groups as usize).map(|()| Status::Ok as i32)) }
}

pub(super) unsafe extern "C" fn raise(worker: *mut u8, code: i32, value: i32) -> i32 {
    // SAFETY: as above.
    unsafe {
        guard(worker, Status::Error as i32, |_| {
            Err(match ErrorCode::from_i32(code) {
                Some(code) => Error::Arithmetic { code, value: Value::from_u32(value as u32) },
                None => Error::Internal(format!("unknown error code {code}")),
            })
        })
    }
}

pub(super) unsafe extern "C" fn function_call(worker: *mut u8, function: i32, value: i32, args: *mut u8, count: i32, out: *mut u8) -> i32 {
    // SAFETY: as above; `args` are `count` values of 16 bytes of the kinds that the function takes, and `out` has room for one.
    unsafe {
        guard(worker, 2, |worker| {
            let function = Function::from_number(function).ok_or_else(|| Error::Internal(format!("there is no function {function}")))?;
            let args = std::slice::from_raw_parts(args.cast::<[u64; 2]>(), count as usize);
            match functions::call(function, args, &mut worker.scratch) {
                Ok(Some(result)) => {
                    out.cast::<[u64; 2]>().write_unaligned(result);
                    Ok(0)
                }
                Ok(None) => Ok(1),
                Err(code) => Err(Error::Arithmetic { code, value: Value::from_u32(value as u32) }),
            }
        })
    }
}

pub(super) unsafe extern "C" fn str_intern(worker: *mut u8, lo: u64, hi: u64) -> u64 {
    // SAFETY: as above; the words are a text.
    unsafe { guard(worker, hi, |worker| Ok(worker.intern(lo, hi))) }
}
