//! The user's guide: one page for each topic, the same text that stands beside this file as Markdown.
//!
//! The `README.md` at the top of the repository is the front page and lists what each page is about.

/// A page with the links between pages.
///
/// On a code host they lead to files: each page defines its own at its end. Here those definitions come first, and
/// of several definitions of a link the first counts: they lead to modules, and a page that is gone is an error.
macro_rules! page {
    ($file:literal) => {
        concat!(
            "[readme]: crate\n",
            "[access-control]: crate::guide::access\n",
            "[alerts]: crate::guide::alerts\n",
            "[verdict-messages]: crate::guide::alerts#verdicts-as-messages\n",
            "[back-tests]: crate::guide::backtests\n",
            "[check-kinds]: crate::guide::checks\n",
            "[ratios]: crate::guide::checks#ratios\n",
            "[severities]: crate::guide::checks#logsnew\n",
            "[compare]: crate::guide::compare\n",
            "[past]: crate::guide::compare#the-past\n",
            "[look-back]: crate::guide::compare#hosts-without-a-past\n",
            "[configuration]: crate::guide::configuration\n",
            "[costs]: crate::guide::costs\n",
            "[doors]: crate::guide::doors\n",
            "[durability]: crate::guide::durability\n",
            "[history]: crate::guide::history\n",
            "[kafka]: crate::guide::kafka\n",
            "[known-faults]: crate::guide::limitations\n",
            "[limits]: crate::guide::limits\n",
            "[metrics]: crate::guide::metrics\n",
            "[kinds]: crate::guide::metrics#kinds-and-units\n",
            "[unshown]: crate::guide::metrics#counters-that-appear-with-their-first-event\n",
            "[pipelines]: crate::guide::pipelines\n",
            "[hotfix]: crate::guide::pipelines#hotfixes\n",
            "[may-promote]: crate::guide::pipelines#may-a-version-go-on\n",
            "[unnamed-hosts]: crate::guide::pipelines#where-nothing-tells-the-one-box\n",
            "[reload]: crate::guide::reload\n",
            "[statistics]: crate::guide::statistics\n",
            "[unknowable]: crate::guide::statistics#what-no-one-could-know\n",
            "[verdicts]: crate::guide::verdicts\n",
            "[promise]: crate::guide::verdicts#the-promise-about-false-alarms\n",
            "\n",
            include_str!($file)
        )
    };
}

#[doc = page!("access.md")]
pub mod access {}
#[doc = page!("alerts.md")]
pub mod alerts {}
#[doc = page!("backtests.md")]
pub mod backtests {}
#[doc = page!("checks.md")]
pub mod checks {}
#[doc = page!("compare.md")]
pub mod compare {}
#[doc = page!("configuration.md")]
pub mod configuration {}
#[doc = page!("costs.md")]
pub mod costs {}
#[doc = page!("doors.md")]
pub mod doors {}
#[doc = page!("durability.md")]
pub mod durability {}
#[doc = page!("history.md")]
pub mod history {}
#[doc = page!("kafka.md")]
pub mod kafka {}
#[doc = page!("limitations.md")]
pub mod limitations {}
#[doc = page!("limits.md")]
pub mod limits {}
#[doc = page!("metrics.md")]
pub mod metrics {}
#[doc = page!("pipelines.md")]
pub mod pipelines {}
#[doc = page!("reload.md")]
pub mod reload {}
#[doc = page!("statistics.md")]
pub mod statistics {}
#[doc = page!("verdicts.md")]
pub mod verdicts {}
