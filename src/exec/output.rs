//! One output partition of an execution.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use futures::stream::{SelectAll, Stream, StreamExt};
use stagefuse_ir::{EntityRef, Input, Source, Stage};
use stagefuse_runtime::{Flow, TableCursor};

use super::run::{Breakers, Core};

/// What an output partition has to do for an emitting stage.
enum Task {
    /// Pieces of one partition of an in-memory input, in order.
    Own { stage: Stage, input: Input, pieces: VecDeque<usize>, task: usize },
    /// Whatever pieces of an in-memory input nobody else claims.
    Claim { stage: Stage, input: Input, task: usize },
    /// Some partitions of a child.
    Streams { stage: Stage, input: Input, streams: SelectAll<SendableRecordBatchStream> },
    /// A partition of DataFusion's own operators, after the stages have failed.
    Retreat(SendableRecordBatchStream),
    /// Some partitions of a table.
    Tables { stage: Stage, partitions: VecDeque<usize>, cursor: Option<TableCursor> },
}

/// Where an output partition stands.
#[derive(PartialEq)]
enum Phase {
    /// Waits for the pipeline breakers.
    Breakers,
    /// Runs its part of the stages that emit.
    Own,
    /// Runs alone what may only run when every partition has done its part (unmatched rows of a join table).
    Last,
    Ended,
}

struct Output {
    core: Arc<Core>,
    breakers: Option<Breakers>,
    partition: usize,
    phase: Phase,
    tasks: VecDeque<Task>,
    ready: VecDeque<RecordBatch>,
    /// Whether DataFusion's operators have taken over.
    retreated: bool,
}

/// The rows of one output partition.
pub(crate) fn output(core: Arc<Core>, breakers: Breakers, partition: usize) -> impl Stream<Item = Result<RecordBatch>> + Send {
    let output = Output {
        core,
        breakers: Some(breakers),
        partition,
        phase: Phase::Breakers,
        tasks: VecDeque::new(),
        ready: VecDeque::new(),
        retreated: false,
    };
    futures::stream::unfold(output, |mut output| async move {
        match output.next().await {
            Ok(Some(batch)) => Some((Ok(batch), output)),
            Ok(None) => None,
            Err(error) => {
                output.phase = Phase::Ended;
                output.tasks.clear();
                Some((Err(error), output))
            }
        }
    })
}

impl Output {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let leaves = match self.ready.is_empty() {
                false => self.core.may_leave(),
                true => self.phase != Phase::Ended || self.core.may_end(self.partition),
            };
            if !leaves && !self.retreated {
                // Another partition's stages have failed: none of these rows counts.
                self.retreat(Arc::new(DataFusionError::Internal("the stages of another partition failed".to_string())))?;
                continue;
            }
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if self.phase == Phase::Ended {
                return Ok(None);
            }
            if let Some(task) = self.tasks.front_mut() {
                let (emitted, ended) = match step(&self.core, task).await {
                    Err(error) if !self.retreated => {
                        self.retreat(Arc::new(error))?;
                        continue;
                    }
                    done => done?,
                };
                self.ready.extend(emitted.into_iter().filter(|batch| batch.num_rows() > 0));
                if ended {
                    self.tasks.pop_front();
                } else if self.ready.is_empty() {
                    // Nothing came out; give others a turn, and a dropped query the chance to end.
                    tokio::task::yield_now().await;
                }
                continue;
            }
            self.advance().await?;
        }
    }

    /// Goes on to the next phase.
    async fn advance(&mut self) -> Result<()> {
        match self.phase {
            Phase::Breakers => {
                if let Some(breakers) = self.breakers.take()
                    && let Err(error) = breakers.await
                {
                    return self.retreat(error);
                }
                for stage in emitting(&self.core, false) {
                    let task = self.own(stage)?;
                    self.tasks.push_back(task);
                }
                self.phase = Phase::Own;
            }
            Phase::Own => {
                let last = self.core.remaining.fetch_sub(1, Ordering::AcqRel) == 1;
                if last {
                    for stage in emitting(&self.core, true) {
                        let partitions = (0..self.core.tables).collect();
                        self.tasks.push_back(Task::Tables { stage, partitions, cursor: None });
                    }
                }
                self.phase = if last { Phase::Last } else { Phase::Ended };
            }
            Phase::Last | Phase::Ended => self.phase = Phase::Ended,
        }
        Ok(())
    }

    /// Goes on with DataFusion's operators.
    fn retreat(&mut self, error: Arc<DataFusionError>) -> Result<()> {
        let streams = self.core.retreat(error, self.partition)?;
        self.retreated = true;
        self.ready.clear();
        self.tasks.clear();
        self.tasks.extend(streams.into_iter().map(Task::Retreat));
        self.phase = Phase::Last;
        Ok(())
    }

    /// This partition's part of an emitting stage.
    fn own(&self, stage: Stage) -> Result<Task> {
        let core = &self.core;
        Ok(match core.lowered.program.stages[stage].source {
            Source::Input { input, partitioned } if core.is_memory(input) => {
                if partitioned {
                    let pieces = core.pieces[input.index()].iter().enumerate();
                    let pieces = pieces.filter(|(_, piece)| piece.partition == self.partition).map(|(i, _)| i).collect();
                    Task::Own { stage, input, pieces, task: self.partition }
                } else {
                    Task::Claim { stage, input, task: self.partition }
                }
            }
            Source::Input { input, .. } => {
                // Where the input is partitioned, it has as many partitions as the output.
                let mut streams = SelectAll::new();
                for partition in (self.partition..core.input_partitions(input)).step_by(core.outputs) {
                    streams.push(core.stream(input, partition)?);
                }
                Task::Streams { stage, input, streams }
            }
            Source::Groups(_) | Source::Join(..) | Source::Sort(_) => {
                Task::Tables { stage, partitions: (self.partition..core.tables).step_by(core.outputs).collect(), cursor: None }
            }
        })
    }
}

/// The stages that emit, or hand over to one that does: those that read a join table which an earlier emitting stage may still mark, or the others.
fn emitting(core: &Core, waiting: bool) -> Vec<Stage> {
    let program = &core.lowered.program;
    let mut marked = vec![];
    let mut stages = vec![];
    for (stage, decl) in program.stages.iter().filter(|(stage, _)| program.emits(*stage)) {
        let waits = matches!(decl.source, Source::Join(join, _) if marked.contains(&join));
        if waits == waiting && !program.is_handed(stage) {
            stages.push(stage);
        }
        marked.extend(decl.probes().map(|probe| probe.join));
    }
    stages
}

/// Does a bit of a task; tells what came out and whether the task has ended.
async fn step(core: &Core, task: &mut Task) -> Result<(Vec<RecordBatch>, bool)> {
    match task {
        Task::Own { stage, input, pieces, task } => match pieces.pop_front() {
            Some(piece) if !core.is_stopped(*stage) => Ok((core.run_piece(*stage, *input, piece, *task)?, false)),
            _ => Ok((vec![], true)),
        },
        Task::Claim { stage, input, task } => match core.claim(*stage, *task) {
            Some(piece) => Ok((core.run_piece(*stage, *input, piece, *task)?, false)),
            None => Ok((vec![], true)),
        },
        Task::Streams { stage, input, streams } => {
            if core.is_stopped(*stage) {
                return Ok((vec![], true));
            }
            match streams.next().await {
                Some(batch) => Ok((core.run_batch(*stage, &core.project(*input, batch?)?, (0, 0))?, false)),
                None => Ok((vec![], true)),
            }
        }
        Task::Retreat(stream) => match stream.next().await {
            Some(batch) => Ok((vec![batch?], false)),
            None => Ok((vec![], true)),
        },
        Task::Tables { stage, partitions, cursor } => {
            let Some(open) = cursor else {
                return match partitions.pop_front() {
                    Some(partition) => {
                        *cursor = Some(core.cursor(*stage, partition)?);
                        Ok((vec![], false))
                    }
                    None => Ok((vec![], true)),
                };
            };
            let (flow, emitted) = core.run_table(*stage, open, (0, 0))?;
            if flow == Flow::Done {
                *cursor = None;
            }
            Ok((emitted, false))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use datafusion::catalog::streaming::StreamingTable;
    use datafusion::common::Result;
    use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder, TaskContext};
    use datafusion::physical_plan::ExecutionPlanProperties;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use datafusion::physical_plan::streaming::PartitionStream;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use futures::{StreamExt, TryStreamExt, stream};

    use crate::rule::StagefuseBuilder;

    /// A partition of one row.
    #[derive(Debug)]
    struct OneRow(RecordBatch);

    impl PartitionStream for OneRow {
        fn schema(&self) -> &SchemaRef {
            self.0.schema_ref()
        }

        fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
            Box::pin(RecordBatchStreamAdapter::new(self.0.schema(), stream::iter([Ok(self.0.clone())])))
        }
    }

    /// A session with a table `numbers` that has a partition for each value, and a table `nothing`.
    async fn session(mode: &str, values: &[i64]) -> SessionContext {
        let mut config = SessionConfig::new().with_target_partitions(values.len());
        config = config.with_option_extension(crate::StagefuseConfig::default());
        config.options_mut().set("stagefuse.mode", mode).unwrap();
        let state = SessionStateBuilder::new_with_default_features().with_config(config).with_stagefuse().build();
        let context = SessionContext::new_with_state(state);
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
        let partition = |value: &i64| {
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(vec![*value]))]).unwrap();
            Arc::new(OneRow(batch)) as Arc<dyn PartitionStream>
        };
        let table = StreamingTable::try_new(Arc::clone(&schema), values.iter().map(partition).collect()).unwrap();
        context.register_table("numbers", Arc::new(table)).unwrap();
        context.sql("CREATE TABLE nothing AS SELECT 1 AS x WHERE false").await.unwrap().collect().await.unwrap();
        context
    }

    #[tokio::test]
    async fn partitions_that_ended_without_rows_do_not_keep_datafusion_from_taking_over() {
        // DataFusion does not come to the filter, since the other side of the join is empty; the stages fail in the last partition.
        let sql = "SELECT n.v FROM nothing CROSS JOIN (SELECT v FROM numbers WHERE 10 / (v - 1000) > 0) n";
        for mode in ["off", "compiled", "interpreted"] {
            let context = session(mode, &[2, 3, 1000]).await;
            let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
            let partitions = plan.output_partitioning().partition_count();
            let mut rows = 0;
            // One after the other: the first ones have ended before the last one starts.
            for partition in 0..partitions {
                let batches: Result<Vec<_>> = plan.execute(partition, context.task_ctx()).unwrap().try_collect().await;
                rows += batches.unwrap_or_else(|error| panic!("{mode}: {error}")).iter().map(RecordBatch::num_rows).sum::<usize>();
            }
            assert_eq!((partitions, rows), (3, 0), "{mode}");
        }
    }

    #[tokio::test]
    async fn rows_that_have_left_keep_datafusion_from_taking_over() {
        let context = session("compiled", &[2, 3, 1000]).await;
        let sql = "SELECT CAST(v AS DECIMAL(3,2)) AS d FROM numbers";
        let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let mut first = plan.execute(0, context.task_ctx()).unwrap();
        assert_eq!(first.next().await.unwrap().unwrap().num_rows(), 1);
        let mut last = plan.execute(2, context.task_ctx()).unwrap();
        assert!(last.next().await.unwrap().is_err());
    }
}
