// groovy -cp ij.jar imagej_run.groovy IMAGE SCRIPT [PICTURE]: opens an image in ImageJ, runs a script on it, prints the
// ROIs of the ROI Manager, and takes a picture of the screen. It needs a display, such as xvfb-run's.
import ij.IJ
import ij.ImageJ
import ij.plugin.frame.RoiManager
import java.awt.Rectangle
import java.awt.Robot
import javax.imageio.ImageIO

def window = new ImageJ()
window.setLocation(0, 0)
def image = IJ.openImage(args[0])
image.show()
new GroovyShell(this.class.classLoader).evaluate(new File(args[1]))
def manager = RoiManager.getInstance()
manager.count.times { index ->
    def roi = manager.getRoi(index)
    println "${roi.position} ${(int) roi.statistics.area} ${roi.bounds.x} ${roi.bounds.y}"
}
if (args.length > 2) {
    image.window.setLocation(0, 100)
    manager.setLocation(530, 100)
    sleep(1500)
    ImageIO.write(new Robot().createScreenCapture(new Rectangle(0, 0, 760, 640)), "png", new File(args[2]))
}
System.exit(0)
