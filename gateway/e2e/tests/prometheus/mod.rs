//! A real Prometheus in front of a gateway.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use e2e::{Client, Response, eventually, get_with};
use serde_json::Value;

/// A Prometheus that scrapes one gateway every second and evaluates rules as often; killed and reaped on drop.
pub(crate) struct Prometheus {
    address: SocketAddr,
    child: Child,
    directory: PathBuf,
}

impl Prometheus {
    /// Starts it with further lines of configuration, those of `global` first, and further flags.
    ///
    /// # Panics
    /// When it does not come up.
    pub(crate) fn start(
        program: &Path,
        target: SocketAddr,
        more_config: &str,
        flags: &[&str],
    ) -> Prometheus {
        let name = format!("ultragate-scrape-{}-{}", std::process::id(), target.port());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).expect("there is room for a directory");
        let config = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n{more_config}\
             scrape_configs: [{{job_name: ultragate, static_configs: [{{targets: [\"{target}\"]}}]}}]\n"
        );
        fs::write(directory.join("prometheus.yml"), config).expect("the directory takes a file");
        let log = directory.join("log");
        let child = Command::new(program)
            .arg(format!(
                "--config.file={}",
                directory.join("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("the directory takes a file"))
            .spawn()
            .expect("prometheus starts");
        let mut prometheus = Prometheus {
            address: target,
            child,
            directory,
        };
        // With port 0 its log alone says where it is.
        eventually("prometheus listens", || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let mut lines = said
                .lines()
                .filter(|line| line.contains("msg=\"Listening on\""));
            let address = lines.find_map(|line| line.split("address=").nth(1));
            let address = address.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            address
                .inspect(|address| prometheus.address = *address)
                .is_some()
        });
        eventually("prometheus is ready", || {
            prometheus.ask("/-/ready").status == 200
        });
        prometheus
    }

    /// The `data` of its answer to a question with one parameter; a path may have others.
    ///
    /// # Panics
    /// When it does not answer 200 and JSON.
    pub(crate) fn get(&self, path: &str, name: &str, value: &str) -> Value {
        let mark = if path.contains('?') { '&' } else { '?' };
        let question = format!("{path}{mark}{}={}", encoded(name), encoded(value));
        let response = self.ask(&question);
        let text = response.text();
        assert_eq!(response.status, 200, "{value}\n{text}");
        let mut answer: Value = serde_json::from_str(&text).expect("JSON");
        answer["data"].take()
    }

    fn ask(&self, target: &str) -> Response {
        Client::connect(self.address).ask(get_with(target, "Connection: close\r\n"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
