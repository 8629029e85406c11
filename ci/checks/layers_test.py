"""Tests of ci/checks/layers: python3 ci/checks/layers_test.py"""

import subprocess
import tempfile
import unittest
from pathlib import Path

LAYERS = Path(__file__).with_name("layers")
FLOORS = "pub mod top;\n\npub mod aside; // only: ground\n\npub mod middle;\n\npub mod ground;\n"


class Layers(unittest.TestCase):
    def check(self, files, floors=FLOORS):
        """The exit code and output for these files of a source folder."""
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {"lib.rs": floors, **files}.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            done = subprocess.run([LAYERS, folder], capture_output=True, text=True)
            return done.returncode, done.stdout + done.stderr

    def test_downward_is_right(self):
        files = {
            "top.rs": "use crate::middle::{self, part::Part};\nfn it() { crate::ground::call() }",
            "middle/mod.rs": "mod part;\npub use part::Part;",
            "middle/part.rs": "use crate::ground;",
            "ground.rs": "",
        }
        code, said = self.check(files)
        self.assertEqual(code, 0, said)
        self.assertIn("5 uses", said)

    def test_upward_is_wrong_wherever_it_stands(self):
        for use in [
            "use crate::top::Thing;",
            "use crate::{ground, top::Thing};",
            "fn it() { crate::top::call() }",
            "use super::top;",
        ]:
            code, said = self.check({"top.rs": "", "ground.rs": "", "middle.rs": "\n" + use})
            self.assertEqual(code, 1, use)
            self.assertIn("middle.rs:2: middle uses top", said)

    def test_only_is_all_that_a_module_may_use(self):
        code, said = self.check({"aside.rs": "use crate::middle;", "middle.rs": "", "ground.rs": ""})
        self.assertEqual(code, 1)
        self.assertIn("aside uses middle", said)
        code, said = self.check({"aside.rs": "use crate::ground;", "ground.rs": ""})
        self.assertEqual(code, 0, said)

    def test_only_names_nothing_above(self):
        code, said = self.check({}, "mod top;\n\nmod low; // only: top\n")
        self.assertEqual(code, 1)
        self.assertIn("low may not use top", said)

    def test_a_name_stands_for_one_type(self):
        one, hidden, test = "pub struct Thing;", "struct Thing;", "#[cfg(test)]\nmod tests {\npub struct Thing;\n}"
        for other in [hidden, test, "pub fn Thing() {}", "// pub struct Thing;"]:
            code, said = self.check({"top.rs": one, "ground.rs": other})
            self.assertEqual(code, 0, said)
        for other in ["pub enum Thing {}", "\npub(crate) type Thing = u8;", "pub(super) trait Thing {}"]:
            code, said = self.check({"top.rs": one, "ground.rs": other})
            self.assertEqual(code, 1, other)
            self.assertIn("Thing is the name of several types", said)
            self.assertIn("top.rs:1", said)

    def test_a_circle_within_a_floor_is_wrong(self):
        files = {
            "middle/mod.rs": "mod one;\nmod two;\nuse one::One;",
            "middle/one.rs": "use super::two::Two;",
            "middle/two.rs": "use super::Rule;",
        }
        code, said = self.check(files)
        self.assertEqual(code, 1)
        self.assertIn("a circle", said)
        self.assertIn("two.rs:1 uses middle", said)

    def test_tests_comments_and_strings_do_not_count(self):
        files = {
            "top.rs": "",
            "ground.rs": '// crate::top\nconst IT: &str = "crate::top::It";\n'
            "#[cfg(test)]\nmod tests {\n    use crate::top;\n}\n",
        }
        code, said = self.check(files)
        self.assertEqual(code, 0, said)


if __name__ == "__main__":
    unittest.main()
