//! What a process costs, as `/proc` tells it.

/// Resident memory of a process in bytes, of this one without an id. `None` where it can't be read.
#[must_use]
pub fn resident_bytes(pid: Option<u32>) -> Option<u64> {
    let pid = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    resident(&status)
}

/// The line `VmRSS:     1234 kB`, which a zombie doesn't have.
fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes = line.trim().strip_suffix("kB")?.trim_end();
    kilobytes.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let status = "Name:\tsupervisor\nVmHWM:\t   20480 kB\nVmRSS:\t   12345 kB\nThreads:\t4\n";
        assert_eq!(resident(status), Some(12_345 * 1024));
        assert_eq!(resident("Name:\tzombie\nState:\tZ (zombie)\n"), None);
        assert_eq!(resident("VmRSS:\t99999999999999999999 kB\n"), None);
    }

    #[test]
    fn this_process_has_memory_and_process_0_none() {
        assert!(resident_bytes(None).is_some_and(|bytes| bytes > 64 * 1024));
        assert_eq!(resident_bytes(Some(0)), None);
    }
}
