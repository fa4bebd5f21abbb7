"""What all tests share."""

import os
import shutil
import signal
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from zlib import crc32

import pytest
import torch

ROOT = Path(__file__).parents[1]

KEPT = {
    "test_an_evaluation_stopped_at_a_write_changes_no_run_and_the_next_measures_the_same": 0,
    "test_every_estimator_trains_every_model": 6,
    "test_every_option_of_every_group_is_what_its_file_says_under_every_experiment": 0,
    "test_it_trains_the_digits_better_than_a_frozen_encoder_does": 1,
    "test_every_part_runs_and_leaves_what_it_measured": 0,
    "test_a_benchmark_that_is_stopped_writes_what_it_has_and_leaves_no_contender": 0,
    "test_the_same_folder_serves_training": 0,
    "test_estimators_are_compared_on_one_budget_and_none_is_trained_twice": 0,
    "test_a_table_is_reproduced_and_nothing_is_run_twice": 0,
    "test_every_step_is_compiled_whole_with_the_same_loss_and_gradients_or_says_that_it_cannot_be": 0,
    "test_the_bar_counts_the_optimiser_steps_that_are_done": 2,
    "test_the_profiler_says_where_the_time_goes": 0,
    "test_a_second_call_goes_on_with_the_study": 0,
    "test_a_sweep_is_what_wandb_accepts": 0,
    "test_overfitting_learns": 0,
    "test_a_job_whose_results_cannot_be_shown_is_completed": 2,
    "test_the_tables_of_a_summary_and_a_search_fit_80_columns": 0,
    "test_a_run_without_it_does_not_import_it": 0,
    "test_torchrun_starts_the_processes_of_a_run": 0,
    "test_a_name_in_a_checkpoint_leads_nowhere": 1,
    "test_a_job_of_two_processes_goes_on_when_its_sweep_is_resumed": 0,
    "test_it_evaluates_where_there_is_no_checkout": 0,
    "test_the_installed_package_is_what_is_imported": 0,
    "test_a_sweep_that_was_stopped_is_finished_with_all_its_jobs": 1,
    "test_a_killed_run_ends_as_one_that_was_not": 4,
    "test_a_run_killed_five_times_ends_as_one_that_was_not": 0,
    "test_the_benchmark_measures_every_section": 0,
    "test_a_download_that_is_stopped_is_done_again": 0,
    "test_nor_does_one_of_many_images_at_once": 0,
    "test_a_run_killed_at_any_hook_ends_as_one_that_was_not": 0,
    "test_a_run_that_sigterm_stops_at_any_hook_loses_nothing_and_ends_as_one_that_was_not": 0,
    "test_a_sweep_of_which_nobody_hears": 0,
    "test_a_run_and_its_evaluation_of_which_nobody_hears": 1,
    "test_steps_per_loop_changes_nothing_that_a_run_leaves": 2,
    "test_of_two_at_the_same_time_one_runs": 0,
    "test_a_resumed_run_keeps_its_best_and_its_files_under_any_name": 2,
    "test_a_job_of_slurm_saves_before_it_ends_and_asks_for_another_turn": 0,
    "test_every_damaged_file_is_one_line_or_not_needed": 5,
    "test_eight_runs_at_once_share_a_data_folder": 0,
    "test_processes_that_prepare_the_same_data_download_it_once": 0,
    "test_an_evaluation_of_many_samples_takes_no_more_memory": 0,
    "test_the_jobs_of_a_sweep_leave_no_memory_behind": 0,
    "test_the_benchmark_times_every_contender_in_turn": 0,
    "test_a_run_stopped_at_a_write_ends_as_one_that_was_not": 1,
    "test_python_m_is_the_command_with_several_processes_too": 0,
    "test_in_a_batch_of_two_processes": 0,
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
    "test_no_process_outlives_the_first_when_that_is_killed_at_its_start": 0,
    "test_what_was_tested_is_what_eval_measures_under_every_callback": 3,
    "test_a_learning_rate_schedule_is_exact_on_resume": 0,
    "test_a_schedule_of_beta_is_logged_and_exact_on_resume": 0,
    "test_a_first_start_that_is_refused_locks_nothing": 2,
    "test_a_run_that_was_stopped_within_an_epoch_and_resumed_twice_goes_on_from_there": 1,
    "test_in_a_validation_batch": 2,
    "test_two_processes_log_one_run": 0,
    "test_it_is_as_if_a_masked_class_was_not_there": 12,
    "test_sigterm_stops_several_processes_at_the_same_step": 0,
    "test_a_missing_compiler_is_one_line": 0,
    "test_a_schedule_of_free_bits_is_logged_and_exact_on_resume": 0,
    "test_each_trial_is_a_run_that_saw_no_test_image": 0,
    "test_a_folder_of_any_name_is_written_resumed_and_evaluated": 1,
    "test_three_processes_find_the_same_metrics_in_batches_of_unequal_size": 0,
    "test_two_processes_write_into_a_folder_of_any_name": 0,
    "test_a_sweep_that_runs_is_left_alone_by_all_others": 0,
    "test_counts_of_many_draws": 2,
    "test_beta_and_free_bits_change_what_is_trained": 0,
    "test_processes_that_extract_at_once_all_read_whole_files": 0,
    "test_an_estimator_that_cannot_be_compiled_says_so_and_trains": 0,
    "test_dynamic_images_take_no_memory_of_their_own": 0,
    "test_without_an_account_there_is_one_line_that_says_what_helps": 0,
    "test_all_models_train_in_other_precisions": 0,
    "test_changes_on_resume_reach_all_processes_and_are_written_once": 0,
    "test_help_ends_quietly_where_nobody_reads_it": 0,
    "test_a_tokenizer_trains_in_bfloat16": 1,
    "test_a_resumed_tokenizer_has_the_bits_of_one_that_was_not_stopped": 2,
    "test_it_is_each_models_loss_gradient_and_state_or_the_estimator_says_why_not": 4,
    "test_a_tiny_ablation": 0,
    "test_the_toy_is_trained_and_held_against_the_paper": 0,
    "test_every_estimator_is_in_all_three_outputs": 0,
    "test_it_trains_where_there_is_no_checkout": 0,
    "test_a_notebook_runs_as_a_script": 0,
}
"""The slow tests that take longest: how many of their cases CI runs. The others are `exhaustive`."""

LONG = {
    "test_failures_stay_failures_beside_what_is_not_applicable",
    "test_a_job_that_was_killed_after_its_results_gets_its_pictures",
    "test_a_trial_draws_by_its_number_alone_whoever_begins_it",
    "test_a_folder_with_another_search_is_refused_and_says_what_differs",
    "test_relative_paths_are_those_of_the_start_when_the_job_moves",
    "test_a_folder_of_checkpoints_that_a_live_run_uses_is_left_alone",
    "test_options_and_a_sweep_in_folders_of_any_name",
    "test_an_average_is_exact_on_resume",
    "test_a_learning_rate_schedule_is_exact_on_resume",
    "test_all_models_train_in_other_precisions",
}
"""Quick tests that take longest, whose kind others show too; CI leaves them out."""

ONE_IN_FOLDER = dict.fromkeys(["search", "data", "stacked", "training"], 2)
ONE_IN_FOLDER |= {"latent": 4, "cli": 9, "config": 8, "callbacks": 7, "models": 6}
"""Of the cases of a quick test in a folder of tests/, CI runs one in so many; the others are `exhaustive` too. Tests of
estimators begin at another one each, so that every estimator has its cases."""

ONE_IN = {
    "test_no_precision_logit_or_temperature_gives_a_nan": 2,
    "test_it_is_as_if_a_masked_class_was_not_there": 2,
    "test_training_lowers_the_variance": 2,
    "test_autocast_does_not_reach_the_sampler": 2,
    "test_estimators_draw_from_a_generator": 2,
    "test_other_ranks_are_refused": 2,
    "test_an_import_that_points_up_or_beside_is_found": 3,
    "test_in_a_validation_batch": 2,
}
"""The same for single tests elsewhere."""


MANY = 6
"""Of a slow test with more cases, CI runs one in six."""


def pytest_configure(config: pytest.Config) -> None:
    """Heeds Ctrl-C, which a process that a shell started in the background would ignore, with all that it starts. What
    other runs on this machine measured of the compiler decides nothing here."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder = tempfile.mkdtemp(prefix="compiler_")
    config.add_cleanup(partial(shutil.rmtree, folder, ignore_errors=True))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if unnamed := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"a case has another name in each worker: {unnamed[0]}")
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
            folder = item.path.relative_to(ROOT).parts[1]
            step = ONE_IN.get(name) or ONE_IN_FOLDER.get(folder, 1)
            first = crc32(name.encode()) % min(step, counts[name, of]) if folder == "latent" else 0
            left = name in LONG or number % step != first
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
