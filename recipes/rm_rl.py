"""HER-RM, second stage: GRPO on whether the reward model's verdicts are right.

```bash
accelerate launch recipes/rm_rl.py --config recipes/smollm2-135m/rm_rl/config.yaml
accelerate launch --config_file recipes/accelerate_configs/zero3.yaml recipes/rm_rl.py \\
    --config recipes/qwen3-32b/rm_rl/config.yaml
```

Starts from the checkpoint of `rm_sft.py`. Every key of the YAML can be overridden on the command line; `--help` lists
them all. The same command resumes a killed run.
"""

import sys

from her_hf.training.reward_model.rl import run_rm_rl
from her_hf.training.run.launch import launch

if __name__ == "__main__":
    sys.exit(launch(run_rm_rl))
