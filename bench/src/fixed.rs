//! The two servers of fixed answers: the floor, and the origin behind everything that is measured.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use platform::floor::{self, Floor, FloorBackend};

use crate::answer;

/// A fixed-answer server's interface to the kernel.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    #[value(name = "io_uring")]
    IoUring,
    Epoll,
}

#[derive(Args)]
struct Serving {
    /// Interface to the kernel.
    #[arg(long, default_value = "io_uring")]
    backend: Backend,
    /// Address to serve; port 0 takes a free one. The first line printed names it.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
    /// Stop after this many seconds; 0 serves on.
    #[arg(long, default_value_t = 60)]
    serve_seconds: u64,
}

/// What the floor takes.
#[derive(Args)]
pub(crate) struct FloorArguments {
    #[command(flatten)]
    serving: Serving,
    /// Bytes of the body.
    #[arg(long, default_value_t = 1024)]
    answer_bytes: usize,
    /// Bytes of the head.
    #[arg(long, default_value_t = 300)]
    head_bytes: usize,
    /// Send each answer by itself instead of all of a turn together.
    #[arg(long)]
    send_each: bool,
    /// Say `Connection: close` and mean it.
    #[arg(long)]
    close: bool,
}

/// What the origin takes.
#[derive(Args)]
pub(crate) struct OriginArguments {
    #[command(flatten)]
    serving: Serving,
    /// Bytes of the body.
    #[arg(long, default_value_t = 1024)]
    body_bytes: usize,
    /// Value of Cache-Control.
    #[arg(long, default_value = "public, max-age=86400")]
    cache_control: String,
}

/// Serves the floor.
pub(crate) fn floor(arguments: &FloorArguments) -> io::Result<()> {
    let fields: &[&str] = if arguments.close {
        &["Connection: close"]
    } else {
        &[]
    };
    let answer = answer::exactly(arguments.head_bytes, arguments.answer_bytes, fields);
    serve(
        &arguments.serving,
        answer,
        arguments.send_each,
        arguments.close,
    )
}

/// Serves the origin.
pub(crate) fn origin(arguments: &OriginArguments) -> io::Result<()> {
    let cache_control = format!("Cache-Control: {}", arguments.cache_control);
    serve(
        &arguments.serving,
        answer::plain(arguments.body_bytes, &[&cache_control]),
        false,
        false,
    )
}

fn serve(serving: &Serving, answer: Vec<u8>, send_each: bool, close: bool) -> io::Result<()> {
    let floor = Floor {
        backend: match serving.backend {
            Backend::IoUring => FloorBackend::IoUring,
            Backend::Epoll => FloorBackend::Epoll,
        },
        listen: serving.listen,
        cpu: serving.cpu,
        answer,
        send_each,
        close,
        duration: (serving.serve_seconds > 0).then(|| Duration::from_secs(serving.serve_seconds)),
    };
    let served = floor::serve(&floor, |address| {
        println!("listening {address}");
        // A closed pipe concerns whoever reads it, not the server.
        let _ = io::stdout().flush();
    })?;
    println!(
        "served {} requests on {} connections",
        served.requests, served.connections
    );
    Ok(())
}
