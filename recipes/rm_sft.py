"""HER-RM, first stage: a generative pairwise reward model by supervised fine-tuning on labelled pairs.

```bash
accelerate launch recipes/rm_sft.py --config recipes/smollm2-135m/rm_sft/config.yaml
accelerate launch --config_file recipes/accelerate_configs/fsdp2.yaml recipes/rm_sft.py \\
    --config recipes/qwen3-32b/rm_sft/config.yaml
```

Every key of the YAML can be overridden on the command line; `--help` lists them all. The same command resumes a
killed run.
"""

import sys

from her_hf.training.reward_model.sft import run_rm_sft
from her_hf.training.run.launch import launch

if __name__ == "__main__":
    sys.exit(launch(run_rm_sft))
