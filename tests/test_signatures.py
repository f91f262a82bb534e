import inspect

import pytest

from captum_heta.metrics import comprehensiveness, soft_nc, soft_ns, sufficiency


@pytest.mark.parametrize(("one", "other"), [(comprehensiveness, sufficiency), (soft_ns, soft_nc)])
def test_metrics_take_the_same_arguments(one, other):
    assert inspect.signature(one) == inspect.signature(other)
    assert one.__doc__ != other.__doc__
    with pytest.raises(TypeError, match="missing a required argument: 'model'"):
        other()
    with pytest.raises(TypeError, match="unexpected keyword argument 'sed'"):
        other(None, None, None, sed=1)
