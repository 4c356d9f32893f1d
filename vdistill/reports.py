from .results import *
from .figures import *
from .pictures import *
from .pages import *
