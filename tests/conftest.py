"""What all tests share."""

import os
from collections import Counter
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]

KEPT = {
    "test_a_killed_run_ends_as_one_that_was_not": 4,
    "test_a_run_killed_five_times_ends_as_one_that_was_not": 1,
    "test_the_benchmark_measures_every_section": 0,
    "test_a_download_that_is_stopped_is_done_again": 1,
    "test_nor_does_one_of_many_images_at_once": 0,
    "test_a_run_killed_at_any_hook_ends_as_one_that_was_not": 0,
    "test_a_run_that_sigterm_stops_at_any_hook_loses_nothing_and_ends_as_one_that_was_not": 0,
    "test_a_sweep_of_which_nobody_hears": 1,
    "test_a_run_and_its_evaluation_of_which_nobody_hears": 1,
    "test_steps_per_loop_changes_nothing_that_a_run_leaves": 2,
    "test_of_two_at_the_same_time_one_runs": 1,
    "test_a_resumed_run_keeps_its_best_and_its_files_under_any_name": 2,
    "test_a_job_of_slurm_saves_before_it_ends_and_asks_for_another_turn": 1,
    "test_every_damaged_file_is_one_line_or_not_needed": 5,
    "test_eight_runs_at_once_share_a_data_folder": 0,
    "test_processes_that_prepare_the_same_data_download_it_once": 0,
    "test_an_evaluation_of_many_samples_takes_no_more_memory": 0,
    "test_the_jobs_of_a_sweep_leave_no_memory_behind": 0,
    "test_the_benchmark_times_every_contender_in_turn": 0,
    "test_a_run_stopped_at_a_write_ends_as_one_that_was_not": 1,
    "test_python_m_is_the_command_with_several_processes_too": 1,
    "test_in_a_test_batch_of_two_processes": 0,
    "test_the_agents_command_runs_as_written": 0,
    "test_a_run_that_was_interrupted_goes_on_by_the_line_that_it_printed": 1,
    "test_a_sweep_that_was_interrupted_says_how_to_go_on": 0,
    "test_a_search_that_was_interrupted_goes_on_by_the_same_command": 0,
    "test_calls_on_one_file_share_it_and_a_killed_and_an_interrupted_one_are_made_up_for": 0,
    "test_two_workers_share_a_file_and_run_each_trial_once": 0,
    "test_two_processes_killed_and_resumed_have_the_bits_of_two_that_were_not": 0,
    "test_no_terminal_makes_a_sweep_fail": 0,
    "test_a_search_in_a_folder_of_any_name_while_jobs_move": 0,
    "test_killed_within_an_epoch_it_ends_as_one_that_was_not": 0,
    "test_no_damage_takes_more_than_two_gigabytes": 1,
    "test_the_best_is_found_under_any_name": 2,
    "test_the_bars_of_parallel_jobs_do_not_fight": 0,
    "test_no_process_outlives_the_first_when_that_is_killed_at_its_start": 1,
    "test_what_was_tested_is_what_eval_measures_under_every_callback": 3,
    "test_a_learning_rate_schedule_is_exact_on_resume": 1,
    "test_a_schedule_of_beta_is_logged_and_exact_on_resume": 1,
    "test_a_first_start_that_is_refused_locks_nothing": 2,
    "test_a_run_that_was_stopped_within_an_epoch_and_resumed_twice_goes_on_from_there": 2,
    "test_in_a_validation_batch": 2,
    "test_two_processes_log_one_run": 0,
    "test_it_is_as_if_a_masked_class_was_not_there": 12,
    "test_sigterm_stops_several_processes_at_the_same_step": 0,
    "test_a_missing_compiler_is_one_line": 0,
    "test_a_schedule_of_free_bits_is_logged_and_exact_on_resume": 1,
    "test_each_trial_is_a_run_that_saw_no_test_image": 0,
    "test_a_folder_of_any_name_is_written_resumed_and_evaluated": 1,
    "test_three_processes_find_the_same_metrics_in_batches_of_unequal_size": 0,
    "test_two_processes_write_into_a_folder_of_any_name": 0,
    "test_a_sweep_that_runs_is_left_alone_by_all_others": 0,
    "test_counts_of_many_draws": 2,
    "test_beta_and_free_bits_change_what_is_trained": 1,
    "test_processes_that_extract_at_once_all_read_whole_files": 0,
    "test_an_estimator_that_cannot_be_compiled_says_so_and_trains": 0,
    "test_dynamic_images_take_no_memory_of_their_own": 0,
    "test_without_an_account_there_is_one_line_that_says_what_helps": 0,
    "test_all_models_train_in_other_precisions": 0,
    "test_changes_on_resume_reach_all_processes_and_are_written_once": 0,
    "test_help_ends_quietly_where_nobody_reads_it": 0,
}
"""The slow tests that take longest: how many of their cases CI runs. The others are `exhaustive`."""

ONE_IN = {
    "test_no_precision_logit_or_temperature_gives_a_nan": 2,
    "test_it_is_as_if_a_masked_class_was_not_there": 2,
    "test_a_resumed_run_has_the_weights_of_an_uninterrupted_one": 2,
    "test_a_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one": 3,
    "test_training_lowers_the_variance": 2,
    "test_a_bad_setting_is_one_line_before_anything_is_trained": 2,
    "test_a_bad_word_about_a_run_is_one_line_and_the_run_stays_as_it_was": 2,
    "test_a_mistake_is_one_line_and_leaves_nothing": 3,
    "test_autocast_does_not_reach_the_sampler": 2,
    "test_estimators_draw_from_a_generator": 2,
    "test_what_may_not_be_read_is_one_line": 3,
    "test_a_mistake_in_a_shell_is_one_line_too": 3,
    "test_what_a_sweep_refuses_is_one_line_and_nothing_is_touched": 2,
    "test_data_in_another_form_have_the_same_figure": 2,
    "test_what_cannot_be_honoured_is_one_line_before_training": 2,
    "test_code_in_a_checkpoint_is_refused_and_not_run": 2,
    "test_other_ranks_are_refused": 2,
    "test_a_damaged_run_is_refused_in_one_line_and_stays_as_it_was": 2,
    "test_every_likelihood_is_that_of_every_model_and_network": 2,
    "test_images_of_another_convention_are_refused": 2,
    "test_every_temperature_goes_with_every_experiment": 2,
    "test_a_mistake_about_a_run_of_before_is_one_line": 2,
}
"""Of the quick tests with many cases, CI runs one in so many; the others are `exhaustive` too."""


MANY = 6
"""Of a slow test with more cases, CI runs one in six."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = [item.get_closest_marker("slow") is not None for item in items]
    names = [(getattr(item, "originalname", None) or item.name, of) for item, of in zip(items, slow, strict=True)]
    counts, seen = Counter(names), Counter[tuple[str, bool]]()
    for item, (name, of) in zip(items, names, strict=True):
        number = seen[name, of]
        seen[name, of] += 1
        if of and name in KEPT:
            left = number >= KEPT[name]
        elif of:
            left = counts[name, of] > MANY and number % 6 != 0
        else:
            left = number % ONE_IN.get(name, 1) != 0
        if left:
            item.add_marker(pytest.mark.exhaustive)


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    """Small tensors are fastest on one thread, and the workers share the machine; every test has its own noise."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds MNIST/raw; the test is skipped where there is none."""
    root = Path(os.environ.get("DISCRETE_LATENTS_DATA", ROOT / "data")).expanduser()
    if not (root / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
        pytest.skip(f"no MNIST in {root}: set DISCRETE_LATENTS_DATA to the folder that holds MNIST/raw")
    return root
