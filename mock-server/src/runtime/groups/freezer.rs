//! Standing still and going on.

use std::{
    fs, io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Controller, Group, Place, Version};

/// Between two looks at a freezer of version 1, which tells nobody when it is done.
const LOOK: Duration = Duration::from_millis(1);

impl Group {
    /// Whether its processes can be made to stand still as a whole, the agent included.
    pub fn can_freeze(&self) -> bool {
        self.freezer().is_some()
    }

    fn freezer(&self) -> Option<&Place> {
        self.places.iter().find(|place| place.controllers.contains(&Controller::Freezer))
    }

    /// Makes every process stand still; returns when they do. Blocking.
    ///
    /// # Errors
    /// `TimedOut` when they don't in time: then they go on.
    pub fn freeze(&self, patience: Duration) -> io::Result<()> {
        let Some(place) = self.freezer() else { return Err(io::ErrorKind::Unsupported.into()) };
        let deadline = Instant::now() + patience;
        let frozen = match place.version {
            Version::Two => freeze_two(place, deadline),
            Version::One => freeze_one(place, deadline),
        };
        if frozen.is_err() {
            self.thaw();
        }
        frozen
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        let Some(place) = self.freezer() else { return };
        let done = match place.version {
            Version::Two => fs::write(place.dir.join("cgroup.freeze"), "0"),
            Version::One => fs::write(place.dir.join("freezer.state"), "THAWED"),
        };
        match done {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(dir = %place.dir.display(), %error, "can't be thawed");
            }
            _ => {}
        }
    }
}

fn freeze_two(place: &Place, deadline: Instant) -> io::Result<()> {
    let events = place.dir.join("cgroup.events");
    fs::write(place.dir.join("cgroup.freeze"), "1")?;
    let file = fs::File::open(&events)?;
    loop {
        if fs::read_to_string(&events)?.lines().any(|line| line == "frozen 1") {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
        // A change between the look and the wait isn't told to a file that was never read: so not for long.
        let wait = PollTimeout::try_from(left.min(Duration::from_millis(20))).unwrap_or(PollTimeout::ZERO);
        match poll(&mut fds, wait) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn freeze_one(place: &Place, deadline: Instant) -> io::Result<()> {
    let state = place.dir.join("freezer.state");
    fs::write(&state, "FROZEN")?;
    while fs::read_to_string(&state)?.trim() != "FROZEN" {
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
