//! The picture of the page in the README: a host that a real agent looks at.

use mote_test_browser::{Browser, DESK, Look};
use mote_test_support::collector::Program;
use mote_test_support::site::Site;

use super::seen::{assert_quiet, now, picture, url};

/// So many samples make a line.
const SAMPLES: usize = 30;

#[test]
fn the_picture_of_the_readme_shows_what_an_agent_samples() {
    let Some(browser) = Browser::start("the_picture_of_the_readme_shows_what_an_agent_samples")
    else {
        return;
    };
    let collector = Program::new(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\ntemplates = [\"linux\"]\n\
         [templates.linux.services]\nCPU = [\"get_linux_cpu\", 1]\nMemory = [\"get_memory_info\", 1]\n\
         Load = [\"get_linux_load\", 1]\n",
    );
    let site = Site::new(&format!(
        "[server]\nurl = \"http://{}\"\n",
        collector.address
    ));
    let begin = now();
    let _agent = site.run_until_up();
    browser.look(Look {
        width: 1000,
        height: 860,
        ..DESK
    });
    // The page itself says how many samples it has been given.
    browser.open(&url(&collector, "#/host/1?range=10m"));
    browser.wait_for(
        "the samples",
        &format!(
            "const figures = document.querySelector('.pane details'); if (figures === null) return false; figures.open = true;
             return figures.querySelectorAll('table:last-of-type tbody tr').length >= {SAMPLES}"
        ),
    );
    browser.open("about:blank");
    let span = format!("#/host/1?from={begin:.0}&to={:.0}", now());
    browser.open(&url(&collector, &span));
    browser.wait_for(
        "a chart of each service",
        "return [...document.querySelectorAll('.service')].filter(it => it.querySelector('.plot canvas') !== null).length === 3",
    );
    browser.run("document.documentElement.style.scrollbarWidth = 'none'");
    picture(&browser, "readme");
    assert_quiet(&browser);
}
