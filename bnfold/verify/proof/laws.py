"""Which op obeys which law. An op without a row, or one that a law does not fit, is opaque."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bnfold.verify.proof import rules_affine as affine
from bnfold.verify.proof import rules_clip as clip
from bnfold.verify.proof import rules_cut as cut
from bnfold.verify.proof import rules_joint as joint
from bnfold.verify.proof import rules_linear as linear
from bnfold.verify.proof import rules_move as move
from bnfold.verify.proof import rules_nonlinear as nonlinear
from bnfold.verify.proof import rules_pool as pool
from bnfold.verify.proof import rules_spread as spread
from bnfold.verify.proof.rules_recurrent import recurrent
from bnfold.verify.proof.source import Known, Op
from bnfold.verify.proof.space import Space

Law = Callable[[Space, Op], Sequence[Known]]

#: Laws by op type; the first that fits counts.
LAWS: Mapping[str, tuple[Law, ...]] = {
    "BatchNormalization": (affine.batch_normalization,),
    "Add": (affine.add,),
    "Sum": (affine.add,),
    "Sub": (affine.sub,),
    "Mul": (affine.mul,),
    "Div": (affine.div,),
    "Neg": (affine.neg,),
    "Mean": (affine.mean,),
    "Reciprocal": (affine.reciprocal,),
    "Identity": (affine.identity,),
    "Cast": (affine.cast,),
    "Dropout": (affine.dropout,),
    "Gemm": (linear.gemm, linear.computed_gemm),
    "MatMul": (linear.matmul, nonlinear.computed_matmul),
    "Einsum": (linear.einsum,),
    "Conv": (linear.conv,),
    "ConvTranspose": (linear.conv_transpose,),
    "LSTM": (recurrent,),
    "GRU": (recurrent,),
    "RNN": (recurrent,),
    "Reshape": (move.reshape,),
    "Flatten": (move.flatten,),
    "Squeeze": (move.squeeze,),
    "Unsqueeze": (move.unsqueeze,),
    "Transpose": (move.transpose,),
    "Slice": (cut.slice_,),
    "Split": (cut.split,),
    "Gather": (linear.gather_rows, cut.gather),
    "Concat": (cut.concat,),
    "Expand": (spread.expand,),
    "Tile": (spread.tile,),
    "DepthToSpace": (spread.depth_to_space,),
    "SpaceToDepth": (spread.space_to_depth,),
    "Resize": (spread.resize,),
    "Upsample": (spread.resize,),
    "Pad": (spread.pad,),
    "MaxPool": (pool.max_pool,),
    "GlobalMaxPool": (pool.max_pool,),
    "AveragePool": (pool.average_pool,),
    "GlobalAveragePool": (pool.average_pool,),
    "LpPool": (pool.lp_pool,),
    "GlobalLpPool": (pool.lp_pool,),
    "ReduceMean": (pool.reduce_,),
    "ReduceSum": (pool.reduce_,),
    "ReduceMax": (pool.reduce_,),
    "ReduceMin": (pool.reduce_,),
    "ReduceL1": (pool.reduce_,),
    "ReduceL2": (pool.reduce_,),
    "CumSum": (pool.cum_sum,),
    "Relu": (nonlinear.positively_homogeneous,),
    "LeakyRelu": (nonlinear.positively_homogeneous,),
    "PRelu": (nonlinear.positively_homogeneous,),
    "Abs": (nonlinear.positively_homogeneous,),
    "Clip": (clip.clip,),
    "HardSigmoid": (clip.hard_sigmoid,),
    "Where": (joint.where,),
    "Max": (joint.extreme,),
    "Min": (joint.extreme,),
    "LayerNormalization": (joint.normalization,),
    "InstanceNormalization": (joint.normalization,),
    "GroupNormalization": (joint.normalization,),
    "DequantizeLinear": (joint.dequantized,),
    "Shape": (nonlinear.shape_of_value,),
}

#: The same for other domains.
OTHER_LAWS: Mapping[tuple[str, str], tuple[Law, ...]] = {
    ("ai.onnx.ml", "Scaler"): (affine.scaler,),
}


def laws_of(op: Op) -> tuple[Law, ...]:
    """The laws that may fit an op."""
    if op.domain:
        return OTHER_LAWS.get((op.domain, op.op_type), ())
    return LAWS.get(op.op_type, ())
