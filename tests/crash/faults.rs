//! The write path fails, and comes back.
