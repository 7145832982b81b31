//! Every way to start, stop, copy and upgrade.

mod copies;
mod databases;
mod memory;
mod own_session;
mod restore;
mod settings;
mod standby;
mod stop;
mod versions;
