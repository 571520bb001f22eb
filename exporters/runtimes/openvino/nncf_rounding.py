"""The steps of ``nncf.quantize``, one by one: the largest weight of every channel is found by NumPy.

NNCF has OpenVINO find it. It adds nodes that reduce each weight, and as these read constants, they are computed when
the model is compiled, number by number: half of the time that a METER of real size takes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from exporters.runtimes.openvino.openvino_runner import import_nncf


def quantise(model: Any, samples: Sequence[Mapping[str, Any]], left_in_float: Sequence[str]) -> Any:
    """Return a model of OpenVINO rounded to int8.

    Args:
        model: in float32.
        samples: inputs of a call each, arrays by name; ranges of activations end where their values on these do.
        left_in_float: names of operations that are not rounded.

    Raises:
        EnvironmentProblem: NNCF is missing.
    """
    nncf = import_nncf()
    from nncf.common.factory import StatisticsAggregatorFactory
    from nncf.common.tensor_statistics.statistic_point import StatisticPointsContainer
    from nncf.openvino.graph.model_utils import remove_friendly_name_duplicates
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, AdvancedSmoothQuantParameters
    from nncf.quantization.algorithms.post_training.algorithm import PostTrainingQuantization
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    from openvino._offline_transformations import compress_quantize_weights_transformation

    model = remove_friendly_name_duplicates(model)
    algorithm = PostTrainingQuantization(
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(samples),
        ignored_scope=nncf.IgnoredScope(names=list(left_in_float)),
        advanced_parameters=AdvancedQuantizationParameters(
            # It fails on slim models with exact trims (seen on MiniLM), not on full ones.
            smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=-1),
            # By default a range ends at the mean of the samples' largest values. In a fitted adapter, whose
            # bias keeps its ReLU open, what tells samples apart lies up there.
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            # It compiles every linear layer by itself, and changes no more than other samples do (docs/exports.md).
            disable_bias_correction=True,
        ),
    )
    graph = nncf.build_graph(model)
    points = algorithm.get_statistic_points(model, graph)
    operations, executed = {op.get_friendly_name(): op for op in model.get_ops()}, StatisticPointsContainer()
    for point in itertools.chain.from_iterable(points.values()):
        weight = _weight_at(point.target_point, operations)
        if weight is None:
            executed.add_statistic_point(point)
        else:
            _reduce(weight, point)
    aggregator = StatisticsAggregatorFactory.create(model, nncf.Dataset(samples))
    aggregator.register_statistic_points(executed)
    aggregator.collect_statistics(model, graph)
    rounded = algorithm.apply(model, graph, points)
    compress_quantize_weights_transformation(rounded)
    return rounded


def _weight_at(target: Any, operations: Mapping[str, Any]) -> Any:
    """Return the weight that is to be rounded at ``target``; None of activations, and of weights that are reshaped."""
    if not target.is_weight_target_point():
        return None
    source = operations[target.target_node_name].input_value(target.port_id).get_node()
    return source.get_data() if source.get_type_name() == "Constant" else None


def _reduce(weight: Any, point: Any) -> None:
    """Give the collectors of a statistic what their reducers make of a weight."""
    from nncf.tensor import Tensor

    for collector in itertools.chain.from_iterable(point.algorithm_to_tensor_collectors.values()):
        collector.register_inputs(
            {hash(each): each._reduce_out_of_place([Tensor(weight)]) for each in collector.reducers}
        )
