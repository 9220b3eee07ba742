//! Random programs that obey the laws, in the shape that front ends give them: decimals in 128 bits, checked arithmetic.

use stagefuse_ir::builder::{ProgramBuilder, StageBuilder};
use stagefuse_ir::function::Kind;
use stagefuse_ir::{
    AccDecl, AccOp, BinaryOp, Computed, Datum, Function, GroupsDecl, Input, JoinDecl, JoinRows, LimitDecl, Op, OpaqueDecl, Probe,
    ProbeKind, Program, Region, Sink, SortDecl, SortKey, Source, SqlType, Stored, TimePart, TimeUnit, Type, UnaryOp, Value,
};

/// Types that programs are made of; those that are in the list more than once come more often.
pub const EVERY_TYPE: &[SqlType] = &[
    SqlType::Boolean,
    SqlType::Int8,
    SqlType::Int16,
    SqlType::Int32,
    SqlType::Int64,
    SqlType::Int64,
    SqlType::UInt8,
    SqlType::UInt16,
    SqlType::UInt32,
    SqlType::UInt64,
    SqlType::Float32,
    SqlType::Float64,
    SqlType::Float64,
    SqlType::Decimal { precision: 15, scale: 2 },
    SqlType::Decimal { precision: 38, scale: 0 },
    SqlType::Decimal32 { precision: 9, scale: 2 },
    SqlType::Decimal64 { precision: 18, scale: 4 },
    SqlType::Date32,
    SqlType::Date64,
    SqlType::Time(TimeUnit::Millisecond),
    SqlType::Time(TimeUnit::Nanosecond),
    SqlType::Timestamp(TimeUnit::Second),
    SqlType::Timestamp(TimeUnit::Microsecond),
    SqlType::Duration(TimeUnit::Nanosecond),
    SqlType::IntervalMonths,
    SqlType::Utf8,
    SqlType::Utf8,
    SqlType::Utf8,
    SqlType::Binary,
];

/// Numbers that decide; zeros once they are used up.
#[derive(Clone, Debug)]
pub struct Choices {
    numbers: Vec<u64>,
    used: usize,
}

impl Choices {
    pub fn new(numbers: Vec<u64>) -> Self {
        Choices { numbers, used: 0 }
    }

    fn number(&mut self) -> u64 {
        self.used += 1;
        self.numbers.get(self.used - 1).copied().unwrap_or(0)
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }
}

pub struct Generator {
    choices: Choices,
    types: &'static [SqlType],
    program: ProgramBuilder,
}

/// A stage that grows, and what is visible in it.
struct Growing {
    stage: StageBuilder,
    visible: Vec<Value>,
}

impl Generator {
    pub fn new(choices: Choices, types: &'static [SqlType]) -> Self {
        Generator { choices, types, program: ProgramBuilder::new() }
    }

    /// One stage from an input to the output, that puts out all its values.
    pub fn scan_and_emit(&mut self) -> Program {
        let input = self.input();
        let mut scan = self.scan(input);
        for _ in 0..12 {
            self.grow(&mut scan, 2);
        }
        let output = scan.visible.iter().map(|v| scan.stage.ty(*v)).collect();
        self.program.stage(scan.stage.sink(Sink::Emit { columns: scan.visible }));
        std::mem::take(&mut self.program).finish(output)
    }

    /// Stages that build and probe a join table, fill a group table and emit what both hold.
    pub fn stages(mut self) -> Program {
        let input = self.input();
        let mut build = self.scan(input);
        self.grow_some(&mut build);
        let keys = self.some_values(&build);
        let payload = self.some_values(&build);
        let types = |values: &[Value], stage: &StageBuilder| values.iter().map(|v| stage.ty(*v)).collect::<Vec<_>>();
        let decl = JoinDecl {
            keys: types(&keys, &build.stage),
            payload: types(&payload, &build.stage),
            null_equal: self.choices.flag(),
            tracked: self.choices.flag(),
        };
        let join = self.program.join(decl.clone());
        self.program.stage(build.stage.sink(Sink::Build { join, keys, payload }));

        // An input with computed columns is one stage's own.
        let input = self.input();
        self.computed(input);
        let mut scan = self.scan(input);
        self.grow_some(&mut scan);
        let probe = self.probe(join, &decl, &mut scan, decl.tracked);
        scan.stage.probe(probe);
        self.grow_some(&mut scan);
        if self.choices.below(4) == 0 {
            self.expand(&mut scan);
        }
        let keys = self.some_values(&scan);
        let mut args = vec![None];
        let mut accs = vec![AccDecl { op: AccOp::CountRows, ty: Type::new(SqlType::Int64, false) }];
        for value in self.some_values(&scan) {
            let ty = scan.stage.ty(value);
            let op = self.choices.pick(&AccOp::ALL[1..]);
            accs.push(match (op, ty.sql) {
                (AccOp::Count, _) => AccDecl { op, ty: Type::new(SqlType::Int64, false) },
                (AccOp::BitOr | AccOp::BitXor, sql) if sql.is_integer() => AccDecl { op, ty: ty.with_nullable(true) },
                (AccOp::Sum, SqlType::Int64 | SqlType::UInt64 | SqlType::Float64) => AccDecl { op, ty: ty.with_nullable(true) },
                (AccOp::Sum, SqlType::Decimal { scale, .. }) => {
                    AccDecl { op, ty: Type::new(SqlType::Decimal { precision: 38, scale }, true) }
                }
                _ => AccDecl { op: AccOp::Min, ty: ty.with_nullable(true) },
            });
            args.push(Some(value));
        }
        let decl = GroupsDecl::new(types(&keys, &scan.stage), accs);
        let groups = self.program.groups(decl.clone());
        self.program.stage(scan.stage.sink(Sink::Group { groups, keys, args, operands: vec![] }));

        let limit = self.program.limit(LimitDecl { skip: 3, fetch: self.choices.pick(&[0, 10, u64::MAX]) });
        let columns: Vec<Type> = decl.keys.into_iter().chain(decl.accs.iter().map(|acc| acc.ty)).collect();
        let stage = StageBuilder::new("groups", Source::Groups(groups), &columns);
        let mut last = Growing { visible: stage.params().to_vec(), stage };
        self.grow_some(&mut last);
        last.stage.limit(limit);
        if self.choices.flag() {
            last = self.sorted(last);
        }
        let columns = self.some_values(&last);
        let output = types(&columns, &last.stage);
        self.program.stage(last.stage.sink(Sink::Emit { columns }));

        let join_decl = self.program.program().joins[join].clone();
        if join_decl.tracked {
            let rows = self.choices.pick(JoinRows::ALL);
            let flag = (rows == JoinRows::All).then_some(Type::boolean(false));
            let fields: Vec<Type> = join_decl.keys.iter().chain(&join_decl.payload).copied().chain(flag).collect();
            let stage = StageBuilder::new("rest", Source::Join(join, rows), &fields);
            let mut rest = Growing { visible: stage.params().to_vec(), stage };
            let columns = output.iter().map(|ty| self.value_of(ty.with_nullable(false), &mut rest)).collect();
            self.program.stage(rest.stage.sink(Sink::Emit { columns }));
        }
        self.program.finish(output)
    }

    /// Has every row come several times from here on.
    fn expand(&mut self, growing: &mut Growing) {
        let sql = self.choices.pick(&[SqlType::UInt8, SqlType::Int32, SqlType::Int64]);
        let values: Vec<Datum> = (0..1 + self.choices.below(3)).map(|_| Datum::Int(self.integer(sql))).collect();
        let literals = self.program.literals_in_a_row(Type::new(sql, false), values);
        let value = growing.stage.expand(Type::new(sql, false), literals);
        growing.visible.push(value);
        self.grow_some(growing);
    }

    /// Ends a stage in a sort, and goes on with its rows.
    fn sorted(&mut self, growing: Growing) -> Growing {
        let (keys, payload) = (growing.visible.clone(), self.some_values(&growing));
        let ty = |value: &Value| growing.stage.ty(*value);
        let keys: Vec<Value> = keys.into_iter().take(1 + self.choices.below(3)).collect();
        let mut flags = || (self.choices.flag(), self.choices.flag());
        let decls = keys.iter().map(|key| {
            let (descending, nulls_first) = flags();
            SortKey { ty: ty(key), descending, nulls_first }
        });
        let decl = SortDecl { keys: decls.collect(), payload: payload.iter().map(ty).collect(), skip: 2, fetch: None };
        let types: Vec<Type> = decl.keys.iter().map(|key| key.ty).chain(decl.payload.iter().copied()).collect();
        let sort = self.program.sort(decl);
        self.program.stage(growing.stage.sink(Sink::Sort { sort, keys, payload }));
        let stage = StageBuilder::new("rows", Source::Sort(sort), &types);
        Growing { visible: stage.params().to_vec(), stage }
    }

    /// A row of an input, within the declared types; nulls only where they may be.
    pub fn row(&mut self, program: &Program) -> Vec<Option<i128>> {
        let columns = &program.inputs[Input::from_u32(0)].columns;
        columns.iter().map(|ty| if ty.nullable && self.choices.below(5) == 0 { None } else { Some(self.integer(ty.sql)) }).collect()
    }

    fn input(&mut self) -> Input {
        let columns = (0..4).map(|_| Type::new(self.choices.pick(self.types), self.choices.flag())).collect();
        self.program.input("in\"put", columns)
    }

    /// Perhaps lets the host compute one more column of an input.
    fn computed(&mut self, input: Input) {
        let columns = self.program.program().inputs[input].columns.clone();
        let Some(arg) = columns.iter().position(|ty| ty.sql == SqlType::Float64).filter(|_| self.choices.flag()) else { return };
        let opaque = self.program.opaque(OpaqueDecl { name: "f(x)".into(), args: vec![columns[arg]; 2], result: columns[arg] });
        let decl = &mut self.program.program_mut().inputs[input];
        decl.columns.push(columns[arg]);
        decl.stored.push(Stored::Arrow);
        decl.computed.push(Computed { opaque, args: vec![arg as u32; 2] });
    }

    fn scan(&mut self, input: Input) -> Growing {
        let columns = self.program.program().inputs[input].columns.clone();
        let mut stage = StageBuilder::new("scan", Source::Input { input, partitioned: self.choices.flag() }, &columns);
        stage.note("a note\nof two lines");
        Growing { visible: stage.params().to_vec(), stage }
    }

    fn some_values(&mut self, growing: &Growing) -> Vec<Value> {
        (0..1 + self.choices.below(3)).map(|_| self.choices.pick(&growing.visible)).collect()
    }

    fn grow_some(&mut self, growing: &mut Growing) {
        for _ in 0..self.choices.below(6) {
            self.grow(growing, 2);
        }
        if self.choices.flag() {
            let condition = self.value_of(Type::boolean(true), growing);
            growing.stage.filter(condition);
        }
    }

    fn probe(&mut self, join: stagefuse_ir::Join, decl: &JoinDecl, growing: &mut Growing, marks_build: bool) -> Probe {
        let kind = self.choices.pick(ProbeKind::ALL);
        let keys = decl.keys.iter().map(|ty| self.value_of(ty.with_nullable(true), growing)).collect();
        let columns: Vec<Option<Value>> = decl
            .keys
            .iter()
            .chain(&decl.payload)
            .map(|ty| {
                let ty = ty.with_nullable(ty.nullable || kind == ProbeKind::Outer);
                self.choices.flag().then(|| growing.stage.value(ty))
            })
            .collect();
        let outside = growing.visible.clone();
        growing.visible.extend(columns.iter().flatten());
        let residual = self.choices.flag().then(|| self.region(Type::boolean(true), growing, 1));
        if !matches!(kind, ProbeKind::Inner | ProbeKind::Outer) {
            growing.visible = outside;
        }
        let mark = (kind == ProbeKind::Mark).then(|| growing.stage.value(Type::boolean(true)));
        growing.visible.extend(mark);
        Probe { join, kind, keys, columns, mark, residual, marks_build }
    }

    /// A region that yields a value of a type.
    fn region(&mut self, ty: Type, growing: &mut Growing, depth: usize) -> Region {
        let outside = growing.visible.clone();
        growing.stage.begin_region();
        for _ in 0..self.choices.below(3) {
            self.grow(growing, depth - 1);
        }
        let result = self.value_of(ty, growing);
        growing.visible = outside;
        growing.stage.end_region(result)
    }

    /// A visible value of a SQL type (not nullable, unless the type is), or else a literal.
    fn value_of(&mut self, ty: Type, growing: &mut Growing) -> Value {
        let fits = |v: &&Value| {
            let found = growing.stage.ty(**v);
            found.sql == ty.sql && found.nullable <= ty.nullable
        };
        let found: Vec<Value> = growing.visible.iter().filter(fits).copied().collect();
        if !found.is_empty() && self.choices.below(4) > 0 { self.choices.pick(&found) } else { self.literal(ty.sql, growing) }
    }

    /// Adds an operation if a random choice of it fits what is there.
    fn grow(&mut self, growing: &mut Growing, depth: usize) {
        let a = self.choices.pick(&growing.visible);
        let ty = growing.stage.ty(a);
        let value = match self.choices.below(14) {
            0 => {
                let sql = self.choices.pick(self.types);
                self.literal(sql, growing)
            }
            1 if depth > 0 => {
                let condition = self.value_of(Type::boolean(true), growing);
                let then = self.region(ty, growing, depth);
                let otherwise = self.region(ty, growing, depth);
                growing.stage.op(Op::If(condition, Box::new(then), Box::new(otherwise)), ty)
            }
            2 => self.test(a, growing),
            3 => {
                let other = self.value_of(ty.with_nullable(true), growing);
                let nullable = ty.nullable || growing.stage.ty(other).nullable;
                let ops = [BinaryOp::Eq, BinaryOp::Lt, BinaryOp::Ge, BinaryOp::Distinct];
                let op = self.choices.pick(&ops);
                growing.stage.binary(op, a, other, Type::boolean(nullable && op != BinaryOp::Distinct))
            }
            4 | 5 => {
                let to = self.choices.pick(self.types);
                match self.conversion(ty.sql, to) {
                    Some(op) => growing.stage.unary(op, a, Type::new(to, ty.nullable)),
                    None => return,
                }
            }
            6 => {
                let ops = [UnaryOp::Neg, UnaryOp::NegChecked, UnaryOp::Abs];
                let op = match ty.sql {
                    // Plain negation of a decimal is only for those that have proved that it fits.
                    SqlType::Decimal { .. } => self.choices.pick(&ops[1..]),
                    sql if sql.is_integer() => self.choices.pick(&ops),
                    sql if sql.is_float() => UnaryOp::Neg,
                    SqlType::Boolean => UnaryOp::Not,
                    SqlType::Utf8 => return growing.visible.push(growing.stage.unary(UnaryOp::CharLength, a, int32(ty))),
                    SqlType::Date32 => {
                        let part = self.choices.pick(&[UnaryOp::Year, UnaryOp::Month, UnaryOp::Day]);
                        return growing.visible.push(growing.stage.unary(part, a, int32(ty)));
                    }
                    _ => return,
                };
                growing.stage.unary(op, a, ty)
            }
            7 => match ty.sql {
                SqlType::Utf8 => {
                    let start = self.value_of(Type::new(SqlType::Int64, false), growing);
                    let count = self.choices.flag().then_some(start);
                    growing.stage.op(Op::Substr(a, start, count), ty)
                }
                SqlType::Float64 => {
                    let decl = OpaqueDecl { name: "f(x)".into(), args: vec![ty, ty], result: ty };
                    let opaque = self.program.opaque(decl);
                    growing.stage.op(Op::Opaque(opaque, vec![a, a]), ty)
                }
                _ => return,
            },
            8 | 9 if self.types.contains(&SqlType::Utf8) => self.call(growing),
            _ => match self.arithmetic(a, growing) {
                Some(value) => value,
                None => return,
            },
        };
        growing.visible.push(value);
    }

    /// A function of operands of its kinds.
    fn call(&mut self, growing: &mut Growing) -> Value {
        let function = self.choices.pick(Function::ALL);
        let mut kinds = function.operands().to_vec();
        kinds.extend(function.more().filter(|_| self.choices.flag()));
        let args: Vec<Value> = kinds.iter().enumerate().map(|(number, kind)| self.operand(function, number, *kind, growing)).collect();
        let nullable = function.can_be_null() || args.iter().any(|arg| growing.stage.ty(*arg).nullable);
        let result = type_of(function.result());
        growing.stage.op(Op::Call(function, args), Type::new(result, nullable))
    }

    /// An operand of a function. Numbers are small where they say how long the text becomes.
    fn operand(&mut self, function: Function, number: usize, kind: Kind, growing: &mut Growing) -> Value {
        let small = match (function, number) {
            (Function::Repeat | Function::PadStart | Function::PadEnd, 1) => Some(self.choices.below(20) as i128 - 2),
            (Function::TimePart | Function::TimeTrunc, 2) => Some(self.choices.below(TimePart::ALL.len()) as i128),
            (Function::TimePart | Function::TimeTrunc | Function::TimeAdd | Function::Day, 1) => {
                Some(self.choices.pick(&[0, 1, 1_000, 1_000_000, 1_000_000_000]))
            }
            _ => None,
        };
        if let Some(small) = small {
            let ty = Type::new(SqlType::Int64, false);
            let lit = self.program.literal(ty, Datum::Int(small));
            return growing.stage.op(Op::Literal(lit), ty);
        }
        let found: Vec<Value> = growing.visible.iter().filter(|value| kind.holds(growing.stage.ty(**value))).copied().collect();
        if !found.is_empty() && self.choices.below(4) > 0 {
            return self.choices.pick(&found);
        }
        let sql = type_of(kind);
        self.literal(sql, growing)
    }

    fn arithmetic(&mut self, a: Value, growing: &mut Growing) -> Option<Value> {
        let ty = growing.stage.ty(a);
        let b = match ty.sql {
            SqlType::Decimal { .. } => {
                let decimals: Vec<_> = growing.visible.iter().filter(|v| growing.stage.ty(**v).sql.scale().is_some()).copied().collect();
                self.choices.pick(&decimals)
            }
            _ => self.value_of(ty, growing),
        };
        let other = growing.stage.ty(b);
        let nullable = ty.nullable || other.nullable;
        let checked = [BinaryOp::AddChecked, BinaryOp::SubChecked, BinaryOp::MulChecked, BinaryOp::Div, BinaryOp::Rem];
        let plain = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div, BinaryOp::Rem];
        let (op, sql) = match (ty.sql.scale(), other.sql.scale()) {
            (Some(x), Some(y)) => {
                let op = self.choices.pick(&checked);
                let scale = match op {
                    BinaryOp::MulChecked => x + y,
                    BinaryOp::Div => x - y,
                    _ if x == y => x,
                    _ => return None,
                };
                (op, SqlType::Decimal { precision: 38, scale: Some(scale).filter(|scale| scale.abs() <= 38)? })
            }
            _ if ty.sql.is_integer() => (if self.choices.flag() { self.choices.pick(&checked) } else { self.choices.pick(&plain) }, ty.sql),
            _ if ty.sql.is_float() => (self.choices.pick(&plain), ty.sql),
            _ if ty.sql == SqlType::Boolean => (self.choices.pick(&[BinaryOp::And, BinaryOp::Or]), ty.sql),
            _ => return None,
        };
        Some(growing.stage.binary(op, a, b, Type::new(sql, nullable)))
    }

    /// A condition on one value.
    fn test(&mut self, a: Value, growing: &mut Growing) -> Value {
        let ty = growing.stage.ty(a);
        match ty.sql {
            SqlType::Utf8 => {
                let pattern = self.program.literal(Type::new(SqlType::Utf8, false), Datum::Str("%\"\\_\u{1}".into()));
                growing.stage.op(Op::Like(a, pattern), Type::boolean(ty.nullable))
            }
            sql if sql.is_integer() || sql.is_temporal() || is_decimal(sql) => {
                let value = Datum::Int(self.integer(sql));
                let lit = self.program.literal(Type::new(sql, false), value);
                growing.stage.op(Op::In(a, vec![lit; self.choices.below(3)]), Type::boolean(ty.nullable))
            }
            _ => growing.stage.unary(UnaryOp::IsNull, a, Type::boolean(false)),
        }
    }

    fn literal(&mut self, sql: SqlType, growing: &mut Growing) -> Value {
        let value = match sql {
            SqlType::Boolean => Datum::Bool(self.choices.flag()),
            SqlType::Float32 => Datum::Float(1.5f64.to_bits()),
            SqlType::Float64 => Datum::Float(self.choices.number()),
            SqlType::Binary => Datum::Bytes(self.choices.pick(&[&[] as &[u8], b"\x00\xff", b"more than twelve bytes \xf0"]).into()),
            SqlType::Utf8 => Datum::Str(self.choices.pick(&["", "a", "\"\\\n\r\t\u{0}ü\u{85}; }"]).into()),
            sql => Datum::Int(self.integer(sql)),
        };
        let lit = self.program.literal(Type::new(sql, false), value);
        growing.stage.op(Op::Literal(lit), Type::new(sql, false))
    }

    /// A value of an integer, decimal, date or boolean; often one at an end.
    fn integer(&mut self, sql: SqlType) -> i128 {
        let (lo, hi) = bounds(sql);
        match self.choices.below(6) {
            0 => lo,
            1 => hi,
            2 => 0,
            3 => 1,
            4 => (self.choices.number() % 1000) as i128 % (hi + 1),
            _ => {
                let wide = i128::from(self.choices.number() as i64) << 63 | i128::from(self.choices.number() >> 1);
                wide.rem_euclid(hi / 2 + 1) + if self.choices.flag() { lo / 2 } else { 0 }
            }
        }
    }

    /// How a front end would go from one type to another.
    fn conversion(&mut self, from: SqlType, to: SqlType) -> Option<UnaryOp> {
        let exact = |sql: SqlType| sql.is_integer() || sql.scale().is_some();
        match (from, to) {
            _ if from == to => Some(UnaryOp::Convert),
            _ if exact(from) && to.is_float() => Some(UnaryOp::Convert),
            (SqlType::Boolean, to) if to.is_integer() => Some(UnaryOp::Convert),
            (SqlType::Int32 | SqlType::Int64, to) if to.is_temporal() && from.default_repr() == to.default_repr() => Some(UnaryOp::Convert),
            (from, SqlType::Int32 | SqlType::Int64) if from.is_temporal() && from.default_repr() == to.default_repr() => {
                Some(UnaryOp::Convert)
            }
            (from, SqlType::Decimal { precision, scale }) if from.is_integer() && scale >= 0 => {
                let fits = bounds(from).1.checked_mul(10i128.pow(scale as u32)).is_some_and(|most| most < 10i128.pow(precision.into()));
                Some(if fits && self.choices.flag() { UnaryOp::Convert } else { UnaryOp::Cast })
            }
            _ if (exact(from) || from.is_float()) && exact(to) => Some(UnaryOp::Cast),
            _ => None,
        }
    }
}

/// A type of a kind.
fn type_of(kind: Kind) -> SqlType {
    match kind {
        Kind::Boolean => SqlType::Boolean,
        Kind::Whole => SqlType::Int64,
        Kind::Unsigned => SqlType::UInt64,
        Kind::Exact => SqlType::Decimal { precision: 38, scale: 2 },
        Kind::Float => SqlType::Float64,
        Kind::Single => SqlType::Float32,
        Kind::Text => SqlType::Utf8,
    }
}

fn is_decimal(sql: SqlType) -> bool {
    matches!(sql, SqlType::Decimal { .. } | SqlType::Decimal32 { .. } | SqlType::Decimal64 { .. })
}

fn int32(ty: Type) -> Type {
    Type::new(SqlType::Int32, ty.nullable)
}

/// Smallest and greatest value of a type.
pub fn bounds(sql: SqlType) -> (i128, i128) {
    match sql {
        SqlType::Decimal { precision, .. } | SqlType::Decimal32 { precision, .. } | SqlType::Decimal64 { precision, .. } => {
            (1 - 10i128.pow(precision.into()), 10i128.pow(precision.into()) - 1)
        }
        SqlType::Boolean => (0, 1),
        sql => {
            let bits = sql.default_repr().bytes() * 8;
            if sql.is_unsigned() { (0, (1 << bits) - 1) } else { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) }
        }
    }
}
