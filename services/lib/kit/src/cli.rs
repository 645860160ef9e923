//! The command line that all services share.

use crate::config::{self, Common, HasCommon, Sources};
use crate::service::{Context, Service};
use crate::telemetry::{self, Telemetry};
use crate::{admin, health, net};
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches};
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// A subcommand of one service beside `serve` and `healthcheck`.
pub struct Command {
    /// Name, help and arguments.
    pub clap: clap::Command,
    /// What it does. It runs without a runtime; [`serve_with`] makes one.
    pub run: fn(&ArgMatches, &Sources) -> ExitCode,
}

/// A setting that has a flag of its own.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// `endpoint` for `--endpoint`.
    pub name: &'static str,
    /// The setting, as `--set` names it.
    pub path: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Whether the flag takes no value and stands for `true`.
    pub is_switch: bool,
}

impl Flag {
    fn arg(&self) -> Arg {
        let arg = Arg::new(self.name)
            .long(self.name)
            .global(true)
            .help(self.help);
        if self.is_switch {
            arg.action(ArgAction::SetTrue)
        } else {
            arg.value_name("VALUE")
        }
    }

    /// `path=value`, if it was given.
    fn setting(&self, matches: &ArgMatches) -> Option<String> {
        let path = self.path;
        if self.is_switch {
            return matches.get_flag(self.name).then(|| format!("{path}=true"));
        }
        matches
            .get_one::<String>(self.name)
            .map(|value| format!("{path}={value}"))
    }
}

/// The whole of a service's `main`.
pub fn main<S: Service>() -> ExitCode {
    main_with::<S>(S::commands())
}

/// [`main`] with subcommands from elsewhere than [`Service::commands`].
pub fn main_with<S: Service>(extra: Vec<Command>) -> ExitCode {
    let matches = command::<S>(&extra).get_matches();
    if matches.get_flag("config-reference") {
        print!("{}", reference::<S>());
        return ExitCode::SUCCESS;
    }
    let set = matches.get_many::<String>("set").unwrap_or_default();
    let flags = S::flags().iter().filter_map(|flag| flag.setting(&matches));
    let sources = Sources::of_process(
        matches.get_one::<PathBuf>("config").cloned(),
        set.cloned().chain(flags).collect(),
    );
    if let Some((name, matches)) = matches.subcommand()
        && let Some(command) = extra.iter().find(|command| command.clap.get_name() == name)
    {
        return (command.run)(matches, &sources);
    }
    let config: S::Config = match sources.load() {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    if matches.get_flag("check-config") {
        return ExitCode::SUCCESS;
    }
    if matches.get_flag("print-config") {
        return match config::print(&config) {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        };
    }
    if let Some(("healthcheck", matches)) = matches.subcommand() {
        let seconds = matches.get_one("wait").copied().unwrap_or_default();
        return healthcheck(config.common(), Duration::from_secs(seconds));
    }
    serve_with(S::NAME, config, S::run)
}

/// Threads with room for what unoptimised code puts on the stack when it reads Kubernetes' deeply nested types: a
/// debug build overflows the usual 2 MiB. Untouched stack costs address space, not memory.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(8 * 1024 * 1024)
        .build()
}

/// Runs `run` as a service: telemetry, admin port, signals, drain.
pub fn serve_with<C, F, Fut>(name: &'static str, config: C, run: F) -> ExitCode
where
    C: HasCommon + Send + 'static,
    F: FnOnce(C, Context) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let common = config.common().clone();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let result = runtime.block_on(async {
        let mut telemetry = telemetry::init(name, &common)?;
        let result = serve(name, &common, config, run, &mut telemetry).await;
        if let Err(error) = &result {
            tracing::error!(error = story(error), "{name} ends");
        }
        telemetry.shutdown().await;
        result
    });
    // Blocking work that ignores the drain must not hold the exit.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&story(&error)),
    }
}

async fn serve<C, F, Fut>(
    name: &str,
    common: &Common,
    config: C,
    run: F,
    telemetry: &mut Telemetry,
) -> anyhow::Result<()>
where
    F: FnOnce(C, Context) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (ctx, trigger) = Context::new();
    ctx.readiness.starting();
    ctx.metrics.describe(name, &ctx.readiness);
    telemetry.export(&ctx.metrics);
    let mut terminate = signal(SignalKind::terminate()).context("following SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("following SIGINT")?;
    let listener = net::bind(common.admin_listen).await.context("admin port")?;
    let admin = ctx.clone();
    tokio::spawn(async move { admin::serve(listener, &admin).await });
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "{name} starts");

    let mut service = tokio::spawn(run(config, ctx));
    tokio::select! {
        ended = &mut service => return ended.context("the service stopped abnormally")?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let limit = Duration::from_secs(common.drain_seconds);
    tracing::info!(limit_seconds = common.drain_seconds, "draining");
    trigger.start();
    let drained = async {
        let ended = service.await.context("the service stopped abnormally")?;
        trigger.finished().await;
        ended
    };
    tokio::select! {
        ended = tokio::time::timeout(limit, drained) => match ended {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!("work was still open after {limit:?}: stopping without it");
                Ok(())
            }
        },
        _ = terminate.recv() => second_signal(),
        _ = interrupt.recv() => second_signal(),
    }
}

fn second_signal() -> anyhow::Result<()> {
    tracing::warn!("second signal: stopping at once");
    Ok(())
}

/// Every setting, and the flags that some have beside `--set`.
fn reference<S: Service>() -> String {
    let mut text = config::reference_markdown::<S::Config>(S::NAME);
    let flags: Vec<_> = S::flags()
        .iter()
        .map(|flag| format!("`--{}` sets `{}`", flag.name, flag.path))
        .collect();
    if !flags.is_empty() {
        text += &format!("\n{}.\n", flags.join(", "));
    }
    text
}

fn healthcheck(common: &Common, patience: Duration) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(health::check(common.admin_listen, patience)),
        Err(error) => return fail(&error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn command<S: Service>(extra: &[Command]) -> clap::Command {
    let global =
        |id: &'static str, help: &'static str| Arg::new(id).long(id).global(true).help(help);
    clap::Command::new(S::NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .arg(
            global("config", "Configuration file (YAML)")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(
            global("set", "Overrides one setting; repeatable")
                .value_name("path.to.key=value")
                .action(ArgAction::Append),
        )
        .arg(
            Arg::new("check-config")
                .long("check-config")
                .action(ArgAction::SetTrue)
                .help("Checks the configuration and exits"),
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help("Prints the effective configuration without secrets and exits"),
        )
        .arg(
            Arg::new("config-reference")
                .long("config-reference")
                .action(ArgAction::SetTrue)
                .help("Prints every setting with its default and meaning as Markdown and exits"),
        )
        .subcommand(clap::Command::new("serve").about("Runs the service (the default)"))
        .subcommand(
            clap::Command::new("healthcheck")
                .about("Asks the running service whether it is ready")
                .arg(
                    Arg::new("wait")
                        .long("wait")
                        .value_name("SECONDS")
                        .value_parser(clap::value_parser!(u64))
                        .help("Waits so long for it before saying what it waits for"),
                ),
        )
        .subcommands(extra.iter().map(|command| command.clap.clone()))
        .args(S::flags().iter().map(Flag::arg))
}

/// An error with its causes, each told once: many texts hold their cause already.
fn story(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .fold(error.to_string(), |story, cause| {
            let cause = cause.to_string();
            if story.contains(&cause) {
                story
            } else {
                format!("{story}: {cause}")
            }
        })
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
