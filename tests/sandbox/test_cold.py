"""Where no jail was made ahead, the same holds: a selection of the other files' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.sandbox import test_endings, test_isolation, test_limits, test_warm
from tests.sandbox.harness import UID_BASE, Runner, open_runner


@pytest.fixture(scope="module")
async def runner(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runner]:
    folder = tmp_path_factory.mktemp("cold")
    async with open_runner(folder, warm=0, uid_base=UID_BASE + 50) as opened:
        yield opened


test_cancel = test_endings.test_cancel
test_cancel_at_once = test_endings.test_cancel_at_once
test_cancelling_the_caller = test_endings.test_cancelling_the_caller_kills_first
test_destroyed_from_outside = test_endings.test_destroyed_from_outside
test_left_running = test_endings.test_what_a_command_leaves_running_is_killed
test_stages_share_the_box = test_endings.test_stages_share_the_box_and_nothing_outlives_it

test_descriptors = test_isolation.test_descriptors
test_identity = test_isolation.test_identity
test_stdin_cannot_be_changed = test_isolation.test_stdin_cannot_be_changed
test_environment = test_isolation.test_environment_is_the_profiles_and_the_jobs

test_cpu_time = test_limits.test_cpu_time
test_exit_codes = test_limits.test_exit_codes_and_signals
test_memory = test_limits.test_memory
test_output_limit = test_limits.test_output_limit
test_process_limit = test_limits.test_process_limit
test_wall_time = test_limits.test_wall_time

test_limits_of_each_stage = test_warm.test_each_stage_has_its_own_limits
test_standard_input = test_warm.test_standard_input
test_values = test_warm.test_any_value_of_a_variable_arrives
