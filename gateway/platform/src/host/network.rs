//! What the kernel lost before anybody saw it: counts of this network namespace, and the machine's packet backlogs.

use super::HostRoot;

/// Devices told of; those behind them in the kernel's list are not.
const DEVICES_MAX: usize = 16;

/// The kernel's counts since the namespace began; `None` where it does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Connections dropped because a listener's accept queue was full (`ListenOverflows`).
    pub listen_overflows: Option<u64>,
    /// Connections a listener dropped for any reason, these included (`ListenDrops`).
    pub listen_drops: Option<u64>,
    /// TCP segments sent again (`RetransSegs`).
    pub retransmitted: Option<u64>,
    /// Segments dropped because their socket's receive buffer was full (`TCPRcvQDrop`).
    pub receive_queue_drops: Option<u64>,
    /// Segments dropped because their socket's backlog was full (`TCPBacklogDrop`).
    pub backlog_drops: Option<u64>,
    /// The queues between the network cards and the stack, all CPUs together.
    pub softnet: Option<Softnet>,
    /// Devices but the loopback and containers' ends (`veth*`), at most 16.
    pub devices: Vec<Device>,
}

/// A row of `/proc/net/softnet_stat`, or their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softnet {
    /// Packets dropped because the CPU's backlog was full.
    pub dropped: u64,
    /// Times the CPU stopped with packets left because its budget was used up.
    pub squeezed: u64,
}

/// Packets that a device lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Received with errors.
    pub receive_errors: u64,
    /// Received and dropped.
    pub receive_drops: u64,
    /// Not sent for errors.
    pub transmit_errors: u64,
    /// Dropped instead of sent.
    pub transmit_drops: u64,
}

impl Network {
    /// Reads them: four small files, for a control thread.
    #[must_use]
    pub fn read(root: &HostRoot) -> Self {
        let read = |name: &str| {
            let text = root.read(format!("/proc/net/{name}"));
            text.unwrap_or_default()
        };
        let (snmp, netstat) = (read("snmp"), read("netstat"));
        let extended = |name| counter(&netstat, "TcpExt:", name);
        let devices = read("dev");
        let devices = devices.lines().filter_map(Device::parse);
        Self {
            listen_overflows: extended("ListenOverflows"),
            listen_drops: extended("ListenDrops"),
            retransmitted: counter(&snmp, "Tcp:", "RetransSegs"),
            receive_queue_drops: extended("TCPRcvQDrop"),
            backlog_drops: extended("TCPBacklogDrop"),
            softnet: Softnet::sum(&read("softnet_stat")),
            devices: devices.take(DEVICES_MAX).collect(),
        }
    }
}

impl Softnet {
    fn sum(text: &str) -> Option<Self> {
        let rows = text.lines().filter_map(Self::parse);
        rows.reduce(|sum, row| Self {
            dropped: sum.dropped.wrapping_add(row.dropped),
            squeezed: sum.squeezed.wrapping_add(row.squeezed),
        })
    }

    /// A CPU's row, in hexadecimal: packets, dropped, squeezed, and others.
    fn parse(line: &str) -> Option<Self> {
        let mut columns = line.split_whitespace().skip(1);
        let mut next = || u64::from_str_radix(columns.next()?, 16).ok();
        Some(Self {
            dropped: next()?,
            squeezed: next()?,
        })
    }
}

impl Device {
    /// A line of `/proc/net/dev`: eight columns of receiving and eight of sending, each with bytes, packets, errors and
    /// drops first. The heads of the table have no numbers.
    fn parse(line: &str) -> Option<Self> {
        let (name, columns) = line.split_once(':')?;
        let name = name.trim();
        if name == "lo" || name.starts_with("veth") {
            return None;
        }
        let columns: Vec<&str> = columns.split_whitespace().collect();
        let column = |at: usize| columns.get(at)?.parse().ok();
        Some(Self {
            name: name.to_owned(),
            receive_errors: column(2)?,
            receive_drops: column(3)?,
            transmit_errors: column(10)?,
            transmit_drops: column(11)?,
        })
    }
}

/// A number of `/proc/net/snmp` and its like, where a line of names is followed by one of values, both behind `group`.
fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|known| known == name)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Fixture;

    const DEV_HEADS: &str = "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";

    #[test]
    fn losses_are_read_by_name_from_pairs_of_lines() {
        let host = Fixture::new(&[
            (
                "/proc/net/snmp",
                "Ip: Forwarding DefaultTTL\nIp: 1 64\n\
                 Tcp: RtoAlgorithm MaxConn InSegs OutSegs RetransSegs InErrs\nTcp: 1 -1 292333567 292336002 43629 15659\n",
            ),
            (
                "/proc/net/netstat",
                "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPBacklogDrop TCPRcvQDrop\nTcpExt: 0 246 251 7 9\n\
                 IpExt: InNoRoutes\nIpExt: 3\n",
            ),
        ]);
        let expected = Network {
            listen_overflows: Some(246),
            listen_drops: Some(251),
            retransmitted: Some(43_629),
            receive_queue_drops: Some(9),
            backlog_drops: Some(7),
            ..Network::default()
        };
        assert_eq!(Network::read(&host.root()), expected);
    }

    #[test]
    fn what_an_older_kernel_does_not_count_is_not_told() {
        let host = Fixture::new(&[(
            "/proc/net/netstat",
            "TcpExt: ListenOverflows ListenDrops\nTcpExt: 1 2\n",
        )]);
        let network = Network::read(&host.root());
        assert_eq!(network.listen_drops, Some(2));
        assert_eq!(
            (network.receive_queue_drops, network.retransmitted),
            (None, None)
        );
    }

    #[test]
    fn backlogs_are_summed_over_cpus_from_hexadecimal() {
        let host = Fixture::new(&[(
            "/proc/net/softnet_stat",
            "09326c6e 00000010 0000004a 00000000 00000000\n083a3c2c 00000001 0000004f 00000000 00000000\n",
        )]);
        let softnet = Softnet {
            dropped: 17,
            squeezed: 0x4a + 0x4f,
        };
        assert_eq!(Network::read(&host.root()).softnet, Some(softnet));
    }

    #[test]
    fn devices_are_told_but_the_loopback_and_containers_ends() {
        let lines = "    lo: 28403 2923 1 2 0 0 0 0 28403 2923 3 4 0 0 0 0\n\
                       eth0: 155471916    6050    5    6    0     0          0         0   427996    3655    7    8    0     0       0          0\n\
                     veth1a:1 1 1 1 0 0 0 0 1 1 1 1 0 0 0 0\n";
        let host = Fixture::new(&[("/proc/net/dev", &format!("{DEV_HEADS}{lines}"))]);
        let eth0 = Device {
            name: "eth0".to_owned(),
            receive_errors: 5,
            receive_drops: 6,
            transmit_errors: 7,
            transmit_drops: 8,
        };
        assert_eq!(Network::read(&host.root()).devices, [eth0]);
    }

    #[test]
    fn a_host_of_many_devices_tells_of_sixteen() {
        let lines: String = (0..40)
            .map(|at| format!("  eth{at}: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"))
            .collect();
        let host = Fixture::new(&[("/proc/net/dev", &format!("{DEV_HEADS}{lines}"))]);
        assert_eq!(Network::read(&host.root()).devices.len(), DEVICES_MAX);
    }

    #[test]
    fn without_proc_there_are_no_counts() {
        assert_eq!(Network::read(&Fixture::new(&[]).root()), Network::default());
    }

    #[test]
    fn this_machine_counts_its_listeners_losses() {
        let network = Network::read(&HostRoot::system());
        assert!(network.listen_drops >= network.listen_overflows);
        assert!(network.listen_drops.is_some() && network.retransmitted.is_some());
    }
}
