//! The run as `rlt` drives it: its workers are the places for arrivals under way.
//!
//! A worker takes the next arrival's number, waits until that arrival is due and goes its way.
//! With every place taken an arrival begins late, and its time counts from when it was due all the
//! same: a server that stalls cannot make the figures look better by keeping the workers busy.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use rlt::{IterInfo, IterReport, StatelessBenchSuite, Status};
use tokio::time::{Instant, sleep_until};

use crate::client::TIMED_OUT;
use crate::journeys::{Journey, Stopped, World};
use crate::recorder::Arrival;
use crate::schedule::Schedule;

/// The runtime's timer is no finer: who begins so late began in time. Any later, and the whole delay counts.
const TICK: Duration = Duration::from_millis(2);

/// Why an arrival was not sent: every place was taken until the end.
const NO_PLACE: &str = "not sent: as many under way as --in-flight allows until the end";

/// Why an arrival was not sent: the people of the run were all used up or resting.
const NOBODY: &str = "not sent: no test identity was free";

/// All arrivals of a run. Workers have clones.
#[derive(Clone)]
pub(crate) struct Suite {
    world: Arc<World>,
    schedule: Schedule,
    start: Arc<OnceLock<Instant>>,
}

impl Suite {
    pub(crate) fn new(world: Arc<World>, schedule: Schedule) -> Self {
        Self { world, schedule, start: Arc::default() }
    }
}

#[async_trait]
impl StatelessBenchSuite for Suite {
    async fn bench(&mut self, info: &IterInfo) -> anyhow::Result<IterReport> {
        let (arrival, recorder) = (info.runner_seq, &self.world.recorder);
        let start = *self.start.get_or_init(Instant::now);
        let offset = self.schedule.offset(arrival);
        // Every arrival is due within the window: who comes here after it found no place in time.
        if start.elapsed() > self.schedule.window() {
            recorder.unsent(offset, NO_PLACE);
            anyhow::bail!(NO_PLACE);
        }
        let due = start + offset;
        sleep_until(due).await;

        let now = Instant::now();
        let late = now - due;
        let from = if late > TICK { due } else { now };
        let arrived = Journey::due(&self.world, from).go(self.schedule.kind(arrival)).await;
        let duration = from.elapsed();
        let is_good = arrived.is_ok();
        match &arrived {
            Err(Stopped::Nobody) => recorder.unsent(offset, NOBODY),
            told => {
                let is_timed = is_good || matches!(told, Err(Stopped::Silence(why)) if why == TIMED_OUT);
                recorder.arrival(&Arrival { due: offset, late, time: duration, is_good, is_timed });
            }
        }
        let (status, bytes) = match arrived {
            Ok(arrived) => (Status::success(arrived.status.into()), arrived.bytes),
            Err(Stopped::Answer(status)) if status >= 500 => (Status::server_error(status.into()), 0),
            Err(Stopped::Answer(status)) => (Status::client_error(status.into()), 0),
            Err(Stopped::Silence(why)) => anyhow::bail!(why),
            Err(Stopped::Nobody) => anyhow::bail!(NOBODY),
        };
        Ok(IterReport { duration, status, bytes, items: 1 })
    }
}
