//! The loop: answers, keys, signals and time come in, frames go out.
use super::draw::{Palette, Shown, Trouble, draw};
use super::feed::{Answers, Feed};
use super::screen::Screen;
use super::ui::{Ui, Wish};
use super::view::DashboardView;
use crate::Error;
use crate::session::Session;
use crossterm::event::{Event, EventStream};
use futures::StreamExt;
use sextant_kit::backoff::Backoff;
use std::io;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};

/// Ages on the screen move on although nothing was heard.
const TICK: Duration = Duration::from_secs(1);

/// Shows the cluster until somebody ends it; the exit code is 0, or what shells say of a signal.
///
/// # Errors
/// When the terminal fails. That the cluster can't be reached is shown and tried again.
pub async fn live<C>(feed: Feed<C>, every: Duration, palette: Palette) -> Result<u8, Error>
where
    C: AsyncFnMut() -> Result<Session, Error>,
{
    let (publish, shown) = watch::channel(Shown::default());
    let now = Notify::new();
    tokio::select! {
        ended = look(shown, &now, palette) => ended.map_err(Error::output),
        () = ask(feed, every, &publish, &now) => Ok(0),
    }
}

/// Asks every so often, more rarely while it fails, and at once when `now` says so. Never ends.
async fn ask<C>(mut feed: Feed<C>, every: Duration, publish: &watch::Sender<Shown>, now: &Notify)
where
    C: AsyncFnMut() -> Result<Session, Error>,
{
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        publish.send_modify(|shown| shown.asking = Some(OffsetDateTime::now_utc()));
        let answer = feed.look().await;
        publish.send_modify(|shown| shown.asking = None);
        let pause = match answer {
            Ok(answers) => {
                backoff.reset();
                publish.send_modify(|shown| shown.answered(&answers));
                every
            }
            Err(error) => {
                let pause = backoff.next().max(every);
                let next = OffsetDateTime::now_utc() + pause;
                let trouble = Trouble {
                    message: error.to_string(),
                    next,
                };
                publish.send_modify(|shown| shown.trouble = Some(trouble));
                pause
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = now.notified() => {}
        }
    }
}

impl Shown {
    fn answered(&mut self, answers: &Answers) {
        let now = OffsetDateTime::now_utc();
        self.view = Some(DashboardView::new(answers, now));
        self.at = Some(now);
        self.trouble = None;
    }
}

async fn look(mut shown: watch::Receiver<Shown>, now: &Notify, palette: Palette) -> io::Result<u8> {
    let mut signals = Signals::new()?;
    let mut screen = Screen::take()?;
    let mut keys = EventStream::new();
    let mut ui = Ui::default();
    loop {
        let current = shown.borrow_and_update().clone();
        screen.terminal.draw(|frame| {
            draw(frame, &mut ui, &current, palette, OffsetDateTime::now_utc());
        })?;
        tokio::select! {
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) => match ui.press(key) {
                    Wish::None => {}
                    Wish::Quit => return Ok(0),
                    Wish::Refresh => now.notify_one(),
                },
                // A new size is looked up when the next frame is drawn.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(0),
            },
            code = signals.next() => return Ok(code),
            _ = shown.changed() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Those that end a program, and would leave the terminal as it is.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The exit code of the first that comes.
    async fn next(&mut self) -> u8 {
        const SIGNALLED: u8 = 128;
        tokio::select! {
            _ = self.hangup.recv() => SIGNALLED + 1,
            _ = self.interrupt.recv() => SIGNALLED + 2,
            _ = self.quit.recv() => SIGNALLED + 3,
            _ = self.terminate.recv() => SIGNALLED + 15,
        }
    }
}
