//! The loop that leads the process from its start to its end.

use std::sync::Arc;
use std::time::Duration;

use base::{Moment, Span};
use tokio::sync::mpsc;

use super::ending::{Again, Step};
use super::signals::{Signal, Signals};
use super::{Control, Order, TICK, digest};
use crate::clock;
use crate::config::{effective, span};
use crate::events::{self, log};
use crate::failure::Failure;
use crate::handover::Handover;
use crate::plan::Plan;
use crate::running::End;
use crate::sources::Sources;

/// How long shards that were told to stop at once may take; then the process leaves without them.
const STOP_TIME: Span = Span::from_secs(2);

/// What the loop listens to.
pub(super) struct Lead {
    pub(super) control: Arc<Control>,
    pub(super) signals: Signals,
    pub(super) ordered: mpsc::Receiver<Order>,
    pub(super) sources: Sources,
    pub(super) handover: Handover,
}

impl Lead {
    /// Runs until the process should end.
    pub(super) async fn lead(mut self) -> Result<(), Failure> {
        let led = self.lead_on().await;
        if let Some(log) = &self.control.running.access_log {
            log.finish();
        }
        led
    }

    async fn lead_on(&mut self) -> Result<(), Failure> {
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + TICK, TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut ends = self.control.running.ends();
        loop {
            let deadline = self.control.state().ending.deadline();
            let step = tokio::select! {
                _ = tick.tick() => {
                    self.control.tick();
                    self.handover.watch(&self.control.running);
                    Step::Wait
                }
                signal = self.signals.next() => self.signalled(signal),
                Some(Order::Drain) = self.ordered.recv() => self.drain(Again::IsTheSame),
                () = until(deadline) => self.passed(),
                end = ends.next() => match end {
                    End::AllEnded => return self.ended(),
                    End::Lost(why) => return self.lost(why).await,
                },
            };
            let step = self.look(step);
            if self.take(step) {
                return self.leave().await;
            }
        }
    }

    fn signalled(&mut self, signal: Signal) -> Step {
        log!(Signal, ?signal, "signal received");
        match signal {
            Signal::Drain => self.drain(Again::Stops),
            Signal::Stop => self.control.state().ending.stop(),
            Signal::Reload => {
                self.recheck();
                Step::Wait
            }
            Signal::Reopen => {
                if let Some(log) = &self.control.running.access_log {
                    log.reopen();
                }
                Step::Wait
            }
            Signal::Upgrade => {
                log!(
                    UpgradeUnsupported,
                    "USR2: upgrading in place comes in a later version"
                );
                Step::Wait
            }
        }
    }

    fn drain(&mut self, again: Again) -> Step {
        let drain = self.control.running.plan.drain;
        self.control
            .state()
            .ending
            .asked(&drain, clock::moment(), again)
    }

    fn passed(&mut self) -> Step {
        let timeout = self.control.running.plan.drain.timeout;
        self.control.state().ending.passed(timeout, clock::moment())
    }

    /// Sees whether anybody still waits to be accepted, where that is the step.
    fn look(&mut self, step: Step) -> Step {
        if step != Step::Look {
            return step;
        }
        self.handover.turn_away(&self.control.running);
        let queues = self.control.running.accept_queues.depths();
        match queues.iter().all(|(_, depth)| *depth == 0) {
            true => {
                let patience = self.handover.patience();
                let mut state = self.control.state();
                state.ending.emptied(patience, clock::moment())
            }
            false => Step::Wait,
        }
    }

    /// Carries a step out; tells whether it was the last.
    fn take(&mut self, step: Step) -> bool {
        let drain = &self.control.running.plan.drain;
        match step {
            Step::Wait | Step::Look => {}
            Step::Begin => log!(
                DrainBegun,
                delay = span(drain.delay.0),
                timeout = span(drain.timeout.0),
                idle = span(drain.idle.0),
                "draining: readiness fails, new connections are turned away after the delay"
            ),
            Step::Leave => {
                self.handover.turn_away(&self.control.running);
                self.control.running.drain();
            }
            Step::Close => {
                self.handover.leave(&self.control.running);
                self.control.running.close();
            }
            Step::Stop => {
                self.handover.give_up(&self.control.running);
                self.control.running.stop();
            }
        }
        step == Step::Stop
    }

    /// Validates the file anew and says what it found; what is in force stays.
    fn recheck(&self) {
        let checked = self.sources.read().and_then(|sheet| {
            Plan::resolve(&sheet, &self.control.running.host)?;
            Ok(digest(&effective(&sheet)))
        });
        let mut state = self.control.state();
        state.config.good = checked.is_ok();
        match checked {
            Ok(hash) => {
                let changed = hash != state.config.hash;
                state.observer.config_checked(None);
                log!(
                    ConfigChecked,
                    changed,
                    "HUP: the configuration is good; taking it without a restart comes in a later version"
                );
            }
            Err(failure) => {
                let fault = failure.to_string();
                log!(ConfigRefused, %fault, "HUP: the configuration is not good; what is in force stays");
                state
                    .observer
                    .config_checked(Some(format!("the file would not start: {fault}")));
            }
        }
    }

    fn ended(&self) -> Result<(), Failure> {
        if self.control.is_ending() {
            log!(Drained, "every request under way has finished");
            return Ok(());
        }
        Err(Failure::Run(
            "every shard ended without being asked".to_owned(),
        ))
    }

    /// A shard ended for good: the others stop too, so that whoever watches the process starts it anew.
    async fn lost(&self, why: String) -> Result<(), Failure> {
        log!(ShardLost, %why, "a shard ended for good");
        self.control.running.stop();
        self.leave().await?;
        Err(Failure::Run(why))
    }

    /// Waits for shards that were told to stop, but not for long.
    async fn leave(&self) -> Result<(), Failure> {
        let limit = Duration::from_nanos(STOP_TIME.0);
        let all = self.control.running.all_ended();
        let all_ended = tokio::time::timeout(limit, all).await;
        events::tell_suppressed();
        match all_ended {
            Ok(()) => log!(Stopped, "stopped"),
            Err(_) => log!(
                StoppedLate,
                "left without waiting for a shard that does not stop"
            ),
        }
        Ok(())
    }
}

/// Comes when the moment has come; never without one.
async fn until(deadline: Option<Moment>) {
    match deadline {
        Some(deadline) => {
            let rest = deadline - clock::moment();
            tokio::time::sleep(Duration::from_nanos(rest.0)).await;
        }
        None => std::future::pending().await,
    }
}
