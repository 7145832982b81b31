//! Every way to start, stop, copy and upgrade.

#[path = "lifecycle/databases.rs"]
mod databases;
#[path = "lifecycle/memory.rs"]
mod memory;
#[path = "lifecycle/restore.rs"]
mod restore;
#[path = "lifecycle/settings.rs"]
mod settings;
#[path = "lifecycle/standby.rs"]
mod standby;
#[path = "lifecycle/stop.rs"]
mod stop;
#[path = "lifecycle/versions.rs"]
mod versions;
