# Device code: built where NVIDIA's compiler is found, left out without a word where it is not, or with CUDA=0.
# Sanitizer builds leave it out too: the same kernels run under them in tests/emulation.

CUDA ?= 1
NVCC := $(if $(SANITIZE),,$(if $(filter-out 0,$(CUDA)),$(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc))))
CUDA_HOME := $(NVCC:%/bin/nvcc=%)
CUDA_TARGETS := -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90]
# The runtime is linked statically and cuBLASLt is loaded when a card is opened: without a driver the programs run all the same.
CUDA_LIBS := $(if $(NVCC),-L$(CUDA_HOME)/lib64 -lcudart_static -lpthread -lrt -ldl)
# A third of the size, for drivers that CUDA 13 wants anyway; older compilers do not know the word.
CUDA_SMALL := $(if $(NVCC),$(shell $(NVCC) --help 2>/dev/null | grep -e --compress-mode >/dev/null && echo --compress-mode=size))
NVCCFLAGS := $(CUDA_SMALL) -std=c++20 -O3 -Ilib $(CUDA_TARGETS) \
    -Xcompiler -Wall,-Wextra,-Werror,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics

# One folder, whatever the host's flags are.
CUDA_BUILD := build/cuda-$(shell printf '%s' '$(NVCC) $(NVCCFLAGS)' | cksum | cut -d' ' -f1)
CUDA_SOURCES := $(sort $(wildcard lib/compute/cuda/*.cu))
CUDA_OBJECTS := $(if $(NVCC),$(CUDA_SOURCES:%.cu=$(CUDA_BUILD)/%.o))

$(CUDA_BUILD)/%.o: %.cu
	@mkdir -p $(@D)
	$(call say,NVCC)$(NVCC) $(NVCCFLAGS) -MMD -MP -c $< -o $@
