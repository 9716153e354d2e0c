//! What the web page and the report of a replay share: their look, and text that stays text.

use crate::event::is_invisible;

/// The look of a verdict, of its reasons and of the table of its checks. Light or dark as the reader has it;
/// each verdict has a colour, which never stands without its word.
pub(crate) const STYLE: &str = r"
:root { color-scheme: light dark; --pass: #1f7a30; --fail: #c4251f; --pending: #2b65b0; --no-data: #955f00;
  --bypassed: #7d41b3; }
@media (prefers-color-scheme: dark) {
  :root { --pass: #5fc873; --fail: #ff7b72; --pending: #79b0ff; --no-data: #e3a33b; --bypassed: #c99bf0; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; }
article { border: 1px solid #8886; border-left-width: .5rem; border-radius: .4rem;
  padding: .6rem 1rem; margin: 1rem 0; }
h2 { font-size: 1.1rem; margin: 0; display: flex; gap: 1rem; align-items: baseline; flex-wrap: wrap; }
.verdict { font-weight: 700; color: var(--colour); }
article { border-color: var(--colour, #8886); }
.PASS { --colour: var(--pass); } .FAIL { --colour: var(--fail); } .PENDING { --colour: var(--pending); }
.NO_DATA { --colour: var(--no-data); } .BYPASSED { --colour: var(--bypassed); }
.ended { opacity: .65; }
.small { font-size: .85rem; opacity: .8; }
h2, p, li, dd { overflow-wrap: anywhere; }
ul { margin: .4rem 0; padding-left: 1.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid #8886; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.time { white-space: nowrap; }
td.note { min-width: 16rem; }
svg.effect { display: block; width: 8rem; height: .9rem; margin-top: .25rem; overflow: visible; }
svg.effect path { fill: none; stroke: #888; } svg.effect .seen { stroke-dasharray: 2 2; }
svg.effect .interval { stroke: currentColor; stroke-width: 2.5; opacity: .55; } svg.effect circle { fill: currentColor; }
.breach svg.effect { color: var(--fail); }
.old { display: none; color: var(--fail); font-weight: 700; } .stale .old { display: block; }
.breach .state { color: var(--fail); font-weight: 700; }
.no_data .state { color: var(--no-data); font-weight: 700; }
";

/// Text that cannot become markup, nor move what stands around it.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter if is_invisible(letter) => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<b a='\"&'>"), "&lt;b a=&#39;&quot;&amp;&#39;&gt;");
        assert_eq!(escape("a\u{202e}b\n\u{1b}"), "a\u{fffd}b\u{fffd}\u{fffd}");
    }
}
