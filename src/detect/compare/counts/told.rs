//! What a person should know beside the numbers.

use super::{CountsTest, Found, LEAVE_OUT_MAX, Reader, report};
use crate::detect::wording::host_list;

impl CountsTest {
    /// Why it is in doubt where no host of the one-box is the reason.
    pub(super) fn told_doubt(&self, reader: &Reader<'_>) -> String {
        match self.rival {
            Some(rival) => format!("; {}", report::rival(reader.view.hosts.name(rival))),
            None if self.is_likely => "; likely harm, though not certain".to_owned(),
            None => String::new(),
        }
    }

    /// Whose events are the only reason.
    pub(super) fn told(&self, reader: &Reader<'_>, found: &Found) -> String {
        let Found::OneHost(set) = found else {
            return String::new();
        };
        let sets = self.one_box.len().clamp(1, LEAVE_OUT_MAX);
        let hosts = self.one_box.iter().skip(*set).step_by(sets);
        let names = host_list(&reader.view.hosts.names(hosts.map(|member| member.host)));
        format!("; {}", report::alone(&names))
    }
}
